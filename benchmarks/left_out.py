"""What a model's labels are worth on a corpus that it was not trained on, as they are and with `predict --adapt`.

OMP_NUM_THREADS=1 python benchmarks/left_out.py MODEL TABLE ROOT

TABLE has columns for files and emotions, such as a `metadata.tsv`. Clips whose class the model does not know are left
out, and it may answer with the others' classes alone (`--classes`). WA, UA and weighted F1 of all clips together, in %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from emotion2vec import load_model
from emotion2vec.corpora.labels import class_name
from emotion2vec.extraction.predict import predict
from emotion2vec.tasks.metrics import confusion_matrix, scores


def rows_of(model: str, table: Path, root: Path, classes: list[str] | None, adapt: bool) -> list[dict[str, str]]:
    """Rows of `predict` for every clip of the table."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "rows.jsonl"
        predict(table, model=model, root=root, output=output, classes=classes, adapt=adapt)
        return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Predict, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("table", type=Path)
    parser.add_argument("root", type=Path)
    asked = parser.parse_args()
    head = load_model(asked.model).head
    if head is None:
        raise SystemExit(f"{asked.model} has no head, expected a model that was fine-tuned on labels")
    header, *lines = asked.table.read_text(encoding="utf-8").splitlines()
    column = header.split("\t").index("emotion")
    there = {class_name(line.split("\t")[column]) for line in lines}
    common = [label for label in head.used_labels if class_name(label) in there]
    print(f"{asked.model} on {asked.table}: {', '.join(common)}")
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.tsv"
        kept = [line for line in lines if class_name(line.split("\t")[column]) in set(map(class_name, common))]
        known.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
        for adapt in (False, True):
            rows = rows_of(asked.model, known, asked.root, common, adapt)
            said = np.array([common.index(row["label"]) for row in rows])
            true = np.array([[*map(class_name, common)].index(class_name(row["emotion"])) for row in rows])
            found = scores(confusion_matrix(true, said, len(common)))
            shown = ", ".join(f"{name} {found[name]:.1f}" for name in ("WA", "UA", "WF1"))
            print(f"{'adapted' if adapt else 'as they are':>12}: {shown} of {len(rows)} clips")


if __name__ == "__main__":
    main()
