# What the rows of workflow/figures.yaml and tables.yaml may name, and their check. No rules.

import ast
from hashlib import sha256

import yaml

from lorasb.study.rates import selected_rates_path

# name of an input in a row -> its file
INPUTS = {
    "names": f"{paths.TABLES}/names.csv",
    "runs": f"{paths.TABLES}/runs.csv",
    "scores": f"{paths.TABLES}/scores.csv",
    "per_item": f"{paths.TABLES}/items.parquet",
    "losses": f"{paths.TABLES}/losses.csv",
    "directions": f"{paths.TABLES}/directions.csv",
    "gradients": f"{paths.TABLES}/gradients.csv",
    "spectra": f"{paths.TABLES}/spectra.csv",
    "data": f"{paths.TABLES}/data.csv",
    "counts": f"{paths.TABLES}/counts.csv",
    "origins": f"{paths.TABLES}/origins.csv",
    "exact": f"{paths.TABLES}/exact_claims.csv",
    "paired": f"{paths.TABLES}/paired_differences.csv",
    "paper": PAPER,
    "sweep": f"{paths.TABLES}/sweep.csv",
    # the outcome of a sweep, and the one that was reviewed and committed
    "selected": f"{paths.TABLES}/selected_lr.tsv",
    "rates": str(selected_rates_path(STUDY.name)),
}
PARAMS = {
    "stale": hash_of(hashes.stale_rates),
    "by_loss": hash_of(compared.tasks_chosen_by_loss),
    "edges": hash_of(compared.rates_at_an_edge),
}
KEYS = {"name", "title", "category", "inputs", "when"}


def conditions(study):
    """What a row may say under `when`, and whether it is so for a study."""
    varied = compared.varied_arguments(study)
    return {
        "always": True,
        "sweep": False,  # for the target `sweep` alone
        "selected rates": study.learning_rates == "selected",
        "several sets": compared.has_evaluation_sets(study),
        "likelihoods": compared.has_likelihoods(study),
        "directions": compared.compares_directions(study),
        "snapshots": compared.keeps_snapshots(study),
        "varies scaling": "scaling" in varied,
        "varies samples": "samples" in varied,
        "varies noise": not varied.isdisjoint({"noise", "signal"}),
        "paper": not models_of_paper().isdisjoint(study.models),
    }


CONDITIONS = conditions(STUDY)


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
            yield unknown(what, name, sorted(known))
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


def holding(study):
    """The conditions that hold for a study."""
    return {name for name, holds in conditions(study).items() if holds}


FOR_STUDY = holding(STUDY)


def code_of(modules):
    """Changes when code does; comments change nothing."""
    trees = [
        ast.dump(ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(modules)
    ]
    return sha256("".join(trees).encode()).hexdigest()[:12]


MODULES = set(Path("analysis").rglob("*.py"))
OF_PAGE = set(Path("analysis/report").rglob("*.py"))
OWN = {path for path in MODULES if path.parent.name in {"figures", "tables"}}
SHARED_CODE = code_of(MODULES - OF_PAGE - OWN)
