"""A prefix of keys in etcd as a source. The keys are the paths of files, and the values are their contents."""
