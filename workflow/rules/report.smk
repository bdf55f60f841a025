# The page of a study, from its tables and figures.


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
        others=others_of_page,
        files=files_of_page,
    output:
        page=paths.PAGE,
    log:
        "logs/report_page/{study}.log",
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=4000,
    params:
        figures=figures_of_page,
        tables=tables_of_page,
        sweep=sweep_of_page,
        shared_code=SHARED_CODE,
        page_code=code_of(OF_PAGE),
    script:
        "../../analysis/report/page.py"
