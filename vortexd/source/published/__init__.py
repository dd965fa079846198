"""A state that a cluster has published in etcd, as a source: for nodes that don't reach the sources themselves."""
