# What the page of a study shows. No rules.


def figures_of_page(wildcards):
    """The rows of the figures that the page shows; the chart of scores takes the place of those of scores."""
    named = wanted(FIGURE_ROWS, holding(study_of(wildcards)))
    return [
        row
        for row in FIGURE_ROWS
        if row["name"] in named and not row["name"].startswith("score_vs_")
    ]


# tables that the page itself makes for its readers
MADE_BY_PAGE = {
    *("accuracy", "paired_differences", "learning_rates"),
    *("costs", "claims", "prepared_data"),
}


def tables_of_page(wildcards):
    """The rows of the tables that the page shows as they are."""
    named = wanted(TABLE_ROWS, holding(study_of(wildcards)))
    return [
        row
        for row in TABLE_ROWS
        if row["name"] in named and row["name"] not in MADE_BY_PAGE
    ]


def files_of_page(wildcards):
    """All files that the page shows or links to, and what it is written with."""
    holds = holding(study_of(wildcards))
    figures, tables = (wanted(rows, holds) for rows in (FIGURE_ROWS, TABLE_ROWS))
    return [
        *expand(f"{paths.FIGURES}/{{name}}.png", study=wildcards.study, name=figures),
        *expand(f"{paths.TABLES}/{{name}}.md", study=wildcards.study, name=tables),
        *(
            f"workflow/report/{row['name']}.rst"
            for row in (*figures_of_page(wildcards), *tables_of_page(wildcards))
        ),
        *map(str, sorted(Path("analysis/report/templates").iterdir())),
    ]


def rates_of_page(wildcards):
    """The committed learning rates, where the study selects them."""
    selects = study_of(wildcards).learning_rates == "selected"
    return expand(INPUTS["rates"], study=wildcards.study) if selects else []


def others_of_page(wildcards):
    """Results of PEFT's method_comparison and of lm-evaluation-harness that stand beside."""
    return sorted(map(str, Path(f"resources/others/{wildcards.study}").glob("*.json")))


def sweep_of_page(wildcards):
    """The sweep that there is, this folder's or the released one. No input: nothing runs for it."""
    folders = [paths.TABLES, "results/published/{study}/tables"]
    files = expand(
        "{folder}/sweep.{end}",
        folder=expand(folders, study=wildcards.study),
        end=["csv", "parquet"],
    )
    return next(filter(os.path.exists, files), "")
