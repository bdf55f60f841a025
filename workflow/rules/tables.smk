# Tables for readers, from the tidy tables; each script draws one.


rule check_exact_claims:
    output:
        exact=f"{paths.TABLES}/exact_claims.csv",
    log:
        "logs/check_exact_claims/{study}.log",
    benchmark:
        "benchmarks/check_exact_claims/{study}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=2000,
    shell:
        "python -m lorasb check-exact-claims --study {wildcards.study} > {log} 2>&1"


rule table_accuracy:
    input:
        runs=f"{paths.TABLES}/runs.csv",
    output:
        csv=f"{paths.TABLES}/accuracy.csv",
        md=f"{paths.TABLES}/accuracy.md",
        html=report(
            f"{paths.TABLES}/accuracy.html",
            caption="../report/accuracy.rst",
            category="Accuracy",
            labels={"study": "{study}", "what": "accuracy (table)"},
        ),
        tex=f"{paths.TABLES}/accuracy.tex",
    log:
        "logs/table_accuracy/{study}.log",
    benchmark:
        "benchmarks/table_accuracy/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/accuracy.py"


rule table_costs:
    input:
        runs=f"{paths.TABLES}/runs.csv",
    output:
        csv=f"{paths.TABLES}/costs.csv",
        md=f"{paths.TABLES}/costs.md",
        html=report(
            f"{paths.TABLES}/costs.html",
            caption="../report/costs.rst",
            category="Efficiency",
            labels={"study": "{study}", "what": "costs (table)"},
        ),
        tex=f"{paths.TABLES}/costs.tex",
    log:
        "logs/table_costs/{study}.log",
    benchmark:
        "benchmarks/table_costs/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/costs.py"


rule table_paired_differences:
    input:
        per_item=f"{paths.TABLES}/items.parquet",
    output:
        csv=f"{paths.TABLES}/paired_differences.csv",
        md=f"{paths.TABLES}/paired_differences.md",
        html=report(
            f"{paths.TABLES}/paired_differences.html",
            caption="../report/paired_differences.rst",
            category="Accuracy",
            labels={"study": "{study}", "what": "paired differences (table)"},
        ),
        tex=f"{paths.TABLES}/paired_differences.tex",
    log:
        "logs/table_paired_differences/{study}.log",
    benchmark:
        "benchmarks/table_paired_differences/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/paired_differences.py"


rule table_learning_rates:
    input:
        selected="config/studies/{study}.selected_lr.tsv",
    output:
        csv=f"{paths.TABLES}/learning_rates.csv",
        md=f"{paths.TABLES}/learning_rates.md",
        html=report(
            f"{paths.TABLES}/learning_rates.html",
            caption="../report/learning_rates.rst",
            category="Learning rates",
            labels={"study": "{study}", "what": "learning rates (table)"},
        ),
        tex=f"{paths.TABLES}/learning_rates.tex",
    log:
        "logs/table_learning_rates/{study}.log",
    benchmark:
        "benchmarks/table_learning_rates/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    params:
        stale=hash_of(hashes.stale_rates),
    script:
        "../../analysis/tables/learning_rates.py"


rule table_claims:
    input:
        exact=f"{paths.TABLES}/exact_claims.csv",
        paired=f"{paths.TABLES}/paired_differences.csv",
        directions=f"{paths.TABLES}/directions.csv",
        gradients=f"{paths.TABLES}/gradients.csv",
    output:
        csv=f"{paths.TABLES}/claims.csv",
        md=f"{paths.TABLES}/claims.md",
        html=report(
            f"{paths.TABLES}/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"study": "{study}", "what": "the paper's claims (table)"},
        ),
        tex=f"{paths.TABLES}/claims.tex",
    log:
        "logs/table_claims/{study}.log",
    benchmark:
        "benchmarks/table_claims/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/claims.py"


rule table_accuracy_by_set:
    input:
        runs=f"{paths.TABLES}/runs.csv",
        scores=f"{paths.TABLES}/scores.csv",
    output:
        csv=f"{paths.TABLES}/accuracy_by_set.csv",
        md=f"{paths.TABLES}/accuracy_by_set.md",
        html=report(
            f"{paths.TABLES}/accuracy_by_set.html",
            caption="../report/accuracy_by_set.rst",
            category="Accuracy",
            labels={"study": "{study}", "what": "accuracy by evaluation set (table)"},
        ),
        tex=f"{paths.TABLES}/accuracy_by_set.tex",
    log:
        "logs/table_accuracy_by_set/{study}.log",
    benchmark:
        "benchmarks/table_accuracy_by_set/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/accuracy_by_set.py"


rule table_paper:
    input:
        paper=PAPER,
        runs=f"{paths.TABLES}/runs.csv",
        scores=f"{paths.TABLES}/scores.csv",
    output:
        csv=f"{paths.TABLES}/paper.csv",
        md=f"{paths.TABLES}/paper.md",
        html=report(
            f"{paths.TABLES}/paper.html",
            caption="../report/paper.rst",
            category="Claims",
            labels={"study": "{study}", "what": "beside the paper's numbers (table)"},
        ),
        tex=f"{paths.TABLES}/paper.tex",
    log:
        "logs/table_paper/{study}.log",
    benchmark:
        "benchmarks/table_paper/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/paper.py"


rule table_prepared_data:
    input:
        data=f"{paths.TABLES}/data.csv",
    output:
        csv=f"{paths.TABLES}/prepared_data.csv",
        md=f"{paths.TABLES}/prepared_data.md",
        html=report(
            f"{paths.TABLES}/prepared_data.html",
            caption="../report/prepared_data.rst",
            category="Data",
            labels={"study": "{study}", "what": "rows and tokens (table)"},
        ),
        tex=f"{paths.TABLES}/prepared_data.tex",
    log:
        "logs/table_prepared_data/{study}.log",
    benchmark:
        "benchmarks/table_prepared_data/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/tables/prepared_data.py"
