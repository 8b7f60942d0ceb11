"""Train the iris forest, save it as a pickle, and (with --serve) serve it.

python examples/iris.py                 # writes iris_model.pkl and iris_rows.csv here
python examples/iris.py --serve         # the same in a temporary folder, then `modelyard serve`
"""

from __future__ import annotations

import argparse
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


def train(folder: Path) -> tuple[Path, Path, float]:
    """Fit 100 trees on three quarters of the flowers; return the model, the rest as rows, the accuracy."""
    flowers = load_iris(as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(
        flowers.data,
        flowers.target_names[flowers.target],
        test_size=0.25,
        stratify=flowers.target,
        random_state=7,
    )
    model = RandomForestClassifier(n_estimators=100, random_state=7).fit(x_train, y_train)
    model_path, rows_path = folder / "iris_model.pkl", folder / "iris_rows.csv"
    with model_path.open("wb") as stream:
        pickle.dump(model, stream)
    x_test.to_csv(rows_path, index=False)
    return model_path, rows_path, float(model.score(x_test, y_test))


def main() -> int:
    """Run the example."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--serve", action="store_true", help="serve the model until Ctrl-C")
    options.add_argument("arguments", nargs="*", help="passed on to `modelyard serve` (after --)")
    chosen = options.parse_args()
    if not chosen.serve:
        model, rows, accuracy = train(Path.cwd())
        print(f"{model.name}: accuracy {accuracy:.3f} on {rows.name}, rows the model has not seen")
        return 0
    with tempfile.TemporaryDirectory(prefix="modelyard-demo-") as folder:
        model, rows, accuracy = train(Path(folder))
        print(
            f"trained 100 trees on iris: accuracy {accuracy:.3f} on rows the model has not seen", flush=True
        )
        command = [
            Path(sys.executable).with_name("modelyard"),
            "serve",
            model,
            "--name",
            "iris",
            "--sample",
            rows,
        ]
        # Its own session: the terminal's Ctrl-C reaches it once, through us.
        server = subprocess.Popen([*command, *chosen.arguments], start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: server.send_signal(number))
        return server.wait()


if __name__ == "__main__":
    raise SystemExit(main())
