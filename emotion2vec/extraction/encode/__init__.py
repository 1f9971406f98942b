"""Decoded audio -> features.

`ready` has the model on its device, in its precision, by its backend; `batching` lays clips together, `lanes` runs
batches side by side, `encoder` runs the network over clips and over windows of long audio, `reduction` keeps what
`choices` wants of its outputs, `spool` holds what is too long for memory, and `turns` puts results in order.
"""
