# What people ask for by name.


rule tables:
    input:
        expand(
            f"{grid.TABLES}/{{name}}.md",
            study=STUDY,
            name=wanted(TABLE_ROWS, FOR_STUDY),
        ),


rule figures:
    input:
        expand(
            f"{grid.FIGURES}/{{name}}.png",
            study=STUDY,
            name=wanted(FIGURE_ROWS, FOR_STUDY),
        ),


rule sweep:
    input:
        expand(f"{grid.TABLES}/selected_lr.tsv", study=STUDY),
        expand(
            f"{grid.FIGURES}/{{name}}.png",
            study=STUDY,
            name=wanted(FIGURE_ROWS, {"sweep"}),
        ),


rule plan:
    log:
        f"logs/plan/{STUDY}.log",
    conda:
        "../envs/lorasb.yaml"
    params:
        study=STUDY,
    shell:
        "python -m lorasb plan --study {params.study} 2> {log}"
