"""Judges new configurations before they are published, by JSON Schemas and by commands of the operator.

Configurations with their property sources arrive, and the files of the served state. Findings leave: which key breaks
which rule, in which file and line. A finding never has a value, nor a text of the validator, which quotes values. The
package never imports the pipeline, which decides what a refusal holds back.

    finding.py     a finding, and a refusal; pure
    decision.py    a decision about one label, for the audit log; pure
    places.py      a place in a document, as file and line; pure
    schemas.py     which schemas apply to a key; pure
    lines.py       a place in a schema, as a line; pure
    validation.py  the work of the separate process: it compiles schemas and validates documents
    judge.py       asks that process, within a deadline and a limit of memory
    command.py     runs the operator's command, within a deadline
    files.py       reads the schemas that settings name
    inference.py   drafts a schema from documents; pure
    opening.py     opens the gate that the settings describe; a server without a gate loads nothing else for it
    gate.py        judges the changed keys of a publication by all sections [[gate]]
"""
