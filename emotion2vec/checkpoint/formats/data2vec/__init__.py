"""data2vec 2.0 audio as fairseq and FunASR keep it: names of weights, and settings that build the network."""
