# The page of a study, from its tables and figures.


def figures_of_page(wildcards):
    """The rows of the figures that the page shows; the chart of scores takes the place of two."""
    named = wanted(FIGURE_ROWS, holding(study_of(wildcards)))
    return [
        row
        for row in FIGURE_ROWS
        if row["name"] in named and not row["name"].startswith("score_vs_")
    ]


def files_of_page(wildcards):
    """All files that the page shows or links to, and what it is written with."""
    holds = holding(study_of(wildcards))
    figures, tables = (wanted(rows, holds) for rows in (FIGURE_ROWS, TABLE_ROWS))
    return [
        *expand(f"{paths.FIGURES}/{{name}}.png", study=wildcards.study, name=figures),
        *expand(f"{paths.TABLES}/{{name}}.md", study=wildcards.study, name=tables),
        *(f"workflow/report/{row['name']}.rst" for row in figures_of_page(wildcards)),
        *map(str, sorted(Path("analysis/report/templates").iterdir())),
    ]


def rates_of_page(wildcards):
    """The committed learning rates, where the study selects them."""
    selects = study_of(wildcards).learning_rates == "selected"
    return expand(INPUTS["rates"], study=wildcards.study) if selects else []


def sweep_of_page(wildcards):
    """The sweep that there is, this folder's or the released one. No input: nothing runs for it."""
    folders = [paths.TABLES, "results/published/{study}/tables"]
    files = expand(
        "{folder}/sweep.{end}",
        folder=expand(folders, study=wildcards.study),
        end=["csv", "parquet"],
    )
    return next(filter(os.path.exists, files), "")


rule report_page:
    input:
        names=INPUTS["names"],
        runs=INPUTS["runs"],
        per_item=INPUTS["per_item"],
        losses=INPUTS["losses"],
        paired=INPUTS["paired"],
        claims=f"{paths.TABLES}/claims.csv",
        data=INPUTS["data"],
        counts=INPUTS["counts"],
        origins=INPUTS["origins"],
        rates=rates_of_page,
        files=files_of_page,
    output:
        page=paths.PAGE,
    log:
        "logs/report_page/{study}.log",
    benchmark:
        "benchmarks/report_page/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=4000,
    params:
        figures=figures_of_page,
        sweep=sweep_of_page,
        shared_code=SHARED_CODE,
        page_code=code_of(OF_PAGE),
    script:
        "../../analysis/report/page.py"
