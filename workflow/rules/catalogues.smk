# What the rows of workflow/figures.yaml and tables.yaml may name, and their check. No rules.

import ast
from hashlib import sha256

import yaml

# name of an input in a row -> its file
INPUTS = {
    "names": f"{grid.TABLES}/names.csv",
    "runs": f"{grid.TABLES}/runs.csv",
    "scores": f"{grid.TABLES}/scores.csv",
    "per_item": f"{grid.TABLES}/items.parquet",
    "losses": f"{grid.TABLES}/losses.csv",
    "directions": f"{grid.TABLES}/directions.csv",
    "gradients": f"{grid.TABLES}/gradients.csv",
    "spectra": f"{grid.TABLES}/spectra.csv",
    "data": f"{grid.TABLES}/data.csv",
    "exact": f"{grid.TABLES}/exact_claims.csv",
    "paired": f"{grid.TABLES}/paired_differences.csv",
    "paper": PAPER,
    "sweep": f"{grid.TABLES}/sweep.csv",
    # the outcome of a sweep, and the one that was reviewed and committed
    "selected": f"{grid.TABLES}/selected_lr.tsv",
    "rates": "config/studies/{study}.selected_lr.tsv",
}
PARAMS = {"stale": get_stale_rates}
KEYS = {"name", "title", "category", "inputs", "when"}


def conditions():
    """What a row may say under `when`, and whether it is so for the study."""
    study = checked(lorasb_config.load_study, STUDY)
    varied = checked(resolve.varied_arguments, STUDY)
    return {
        "always": True,
        "sweep": False,  # for the target `sweep` alone
        "selected rates": study["learning_rates"] == "selected",
        "several sets": checked(resolve.has_evaluation_sets, STUDY),
        "directions": checked(resolve.compares_directions, STUDY),
        "snapshots": checked(resolve.keeps_snapshots, STUDY),
        "varies scaling": "scaling" in varied,
        "varies samples": "samples" in varied,
        "varies noise": not varied.isdisjoint({"noise", "signal"}),
        "paper": not models_of_paper().isdisjoint(study["models"]),
    }


CONDITIONS = conditions()


def faults(row, kind):
    """What is wrong with a row, a line each."""
    named = [
        *(("key", key, [*KEYS, "params"]) for key in row),
        *(("input", name, INPUTS) for name in row.get("inputs", [])),
        ("condition", row.get("when", "always"), CONDITIONS),
        *(("parameter", name, PARAMS) for name in row.get("params", [])),
    ]
    yield from (f"no key '{key}'" for key in sorted(KEYS - row.keys()))
    for what, name, known in named:
        if name not in known:
            yield lorasb_config.unknown(what, name, sorted(known))
    name = row.get("name")
    for path in (f"analysis/{kind}/{name}.py", f"workflow/report/{name}.rst"):
        if not Path(path).exists():
            yield f"there is no {path}"


def catalogue(kind):
    """The rows of `workflow/{kind}.yaml`, checked."""
    path = Path(f"workflow/{kind}.yaml")
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    for row in rows:
        for fault in faults(row, kind):
            raise WorkflowError(f"{path}: {row.get('name', row)}: {fault}")
    return rows


FIGURE_ROWS = catalogue("figures")
TABLE_ROWS = catalogue("tables")


def wanted(rows, conditions):
    """Names of the rows whose condition is one of these."""
    return [row["name"] for row in rows if row["when"] in conditions]


FOR_STUDY = {name for name, holds in CONDITIONS.items() if holds}


def shared_code():
    """Changes when code that the scripts share does; comments change nothing."""
    modules = [
        path
        for path in sorted(Path("analysis").rglob("*.py"))
        if path.parent.name not in {"figures", "tables"}
    ]
    trees = [ast.dump(ast.parse(path.read_text(encoding="utf-8"))) for path in modules]
    return sha256("".join(trees).encode()).hexdigest()[:12]


SHARED_CODE = shared_code()
