"""Our models as S3PRL upstreams: `emotion2vec` and `emotion2vec_custom` in `s3prl.hub` after `import emotion2vec`.

`python -m emotion2vec.integrations.s3prl` is S3PRL's own `run_downstream.py` with them.
"""
