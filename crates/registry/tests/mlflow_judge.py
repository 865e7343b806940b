"""MLflow's own client: says what the server has of a registered model, or registers one in MLflow's own ways.

python mlflow_judge.py ADDRESS show MODEL
python mlflow_judge.py ADDRESS register FILE
python mlflow_judge.py ADDRESS load URI
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient


def show(client: MlflowClient, model: str) -> dict[str, Any]:
    versions = client.search_model_versions(f"name = '{model}'")
    found: dict[str, Any] = {"aliases": client.get_registered_model(model).aliases, "versions": {}}
    for version in versions:
        run = client.get_run(version.run_id)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(mlflow.artifacts.download_artifacts(version.source, dst_path=folder))
            files = {
                str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in root.rglob("*")
                if file.is_file()
            }
        found["versions"][version.version] = {
            "tags": version.tags,
            "status": version.status,
            "run": {
                "status": run.info.status,
                # As text: not every parser of JSON gives the same number back.
                "metrics": {key: repr(value) for key, value in run.data.metrics.items()},
                "parameters": run.data.params,
                "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
            },
            "files": files,
        }
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    found["runs"] = len([run for run in runs if "palisade.release-digest" in run.data.tags])
    return found


def register(client: MlflowClient, file: str) -> dict[str, Any]:
    """As a run's artefact in a folder of folders, as a logged model of MLflow 3, and as that by its own name."""
    client.create_registered_model("by-run")
    with mlflow.start_run() as run:
        mlflow.log_artifact(file, "deep/down/here")
    version = client.create_model_version("by-run", f"runs:/{run.info.run_id}/deep", run.info.run_id)
    client.set_registered_model_alias("by-run", "best", version.version)
    logged = mlflow.pyfunc.log_model(
        name="m", loader_module="json", data_path=file, pip_requirements=[], registered_model_name="by-model"
    )
    client.create_registered_model("by-model-id")
    client.create_model_version("by-model-id", f"models:/{logged.model_id}", model_id=logged.model_id)
    source = client.get_model_version("by-model", "1").source
    return {"version": version.version, "source": source, "uri": logged.model_uri}


def load(_: MlflowClient, uri: str) -> dict[str, Any]:
    """As an ONNX graph, and as a function of rows of token ids."""
    import numpy
    import pandas

    graph = mlflow.onnx.load_model(uri).graph
    names = [given.name for given in graph.input]
    function = mlflow.pyfunc.load_model(uri)
    ids = numpy.array([[101, 2017, 102], [101, 2748, 102]], dtype=numpy.int64)
    of = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    scored = function.predict({name: of[name] for name in names})
    return {"inputs": names, "rows": [len(values) for values in scored.values()]}


def main() -> None:
    address, command, argument = sys.argv[1:]
    mlflow.set_tracking_uri(address)
    print(json.dumps({"show": show, "register": register, "load": load}[command](MlflowClient(address), argument)))


if __name__ == "__main__":
    main()
