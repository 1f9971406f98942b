"""Features that lie on disk already: `formats` reads files, `opening` a whole store, `matching` gives clips theirs."""
