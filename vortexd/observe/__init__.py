"""Logs, metrics and traces for operators.

The input is events and finished publications. The output is log lines, Prometheus samples and OpenTelemetry spans.
"""
