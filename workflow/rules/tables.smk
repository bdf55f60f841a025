# Tables for readers, from the tidy tables: a rule for each row of workflow/tables.yaml.


rule check_exact_claims:
    output:
        exact=f"{paths.TABLES}/exact_claims.csv",
    log:
        "logs/check_exact_claims/{study}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=2000,
    shell:
        "python -m lorasb check-exact-claims --study {wildcards.study} > {log} 2>&1"


rule tabulate_counts:
    input:
        beside=PAPER,
    output:
        counts=f"{paths.TABLES}/counts.csv",
    log:
        "logs/tabulate_counts/{study}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=2000,
    params:
        counts_hash=hash_of(hashes.counts_hash),
    shell:
        "python -m lorasb tabulate-counts --study {wildcards.study} --beside {input.beside} > {log} 2>&1"


rule write_names:
    output:
        names=f"{paths.TABLES}/names.csv",
    log:
        "logs/write_names/{study}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=2000,
    params:
        names_hash=hash_of(hashes.names_hash),
    shell:
        "python -m lorasb write-names --study {wildcards.study} > {log} 2>&1"


for row in TABLE_ROWS:

    rule:
        name:
            f"table_{row['name']}"
        input:
            **{key: INPUTS[key] for key in row["inputs"]},
        output:
            csv=f"{paths.TABLES}/{row['name']}.csv",
            md=f"{paths.TABLES}/{row['name']}.md",
            html=report(
                f"{paths.TABLES}/{row['name']}.html",
                caption=f"../report/{row['name']}.rst",
                category=row["category"],
                labels={"study": "{study}", "what": f"{row['title']} (table)"},
            ),
            tex=f"{paths.TABLES}/{row['name']}.tex",
        log:
            f"logs/table_{row['name']}/{{study}}.log",
        conda:
            "../envs/analysis.yaml"
        resources:
            mem_mb=2000,
        params:
            **{key: PARAMS[key] for key in row.get("params", [])},
            name=row["name"],
            shared_code=SHARED_CODE,
        script:
            # read when the job runs, after the loop: so it has the name from params
            "../../analysis/tables/{params.name}.py"
