# What people ask for by name.


rule tables:
    input:
        expand(
            f"{paths.TABLES}/{{name}}.md",
            study=STUDY.name,
            name=wanted(TABLE_ROWS, FOR_STUDY),
        ),


rule figures:
    input:
        expand(
            f"{paths.FIGURES}/{{name}}.png",
            study=STUDY.name,
            name=wanted(FIGURE_ROWS, FOR_STUDY),
        ),


rule sweep:
    input:
        expand(f"{paths.TABLES}/selected_lr.tsv", study=STUDY.name),
        expand(
            f"{paths.FIGURES}/{{name}}.png",
            study=STUDY.name,
            name=wanted(FIGURE_ROWS, {"sweep"}),
        ),


rule plan:
    log:
        f"logs/plan/{STUDY.name}.log",
    conda:
        "../envs/lorasb.yaml"
    params:
        study=STUDY.name,
    shell:
        "python -m lorasb plan --study {params.study} 2> {log}"
