# What people ask for by name.
#
# Snakemake takes no notice of a missing file between two that are there, not even if a job that failed
# removed it. So all that comes of the study's cells is asked for too, records above all: a job writes its
# record last.


RESULT_FILES = results_of("test", "collect")
TABLE_FILES = expand(
    f"{paths.TABLES}/{{name}}.md",
    study=STUDY.name,
    name=wanted(TABLE_ROWS, FOR_STUDY),
)
FIGURE_FILES = expand(
    f"{paths.FIGURES}/{{name}}.png",
    study=STUDY.name,
    name=wanted(FIGURE_ROWS, FOR_STUDY),
)


rule tables:
    input:
        RESULT_FILES,
        TABLE_FILES,


rule figures:
    input:
        RESULT_FILES,
        FIGURE_FILES,


rule sweep:
    input:
        results_of("selection", "select_lr"),
        figures_of_sweep,


rule plan:
    log:
        f"logs/plan/{STUDY.name}.log",
    conda:
        "../envs/lorasb.yaml"
    params:
        study=STUDY.name,
    shell:
        "python -m lorasb plan --study {params.study} 2> {log}"
