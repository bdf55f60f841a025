# Figures, from the tidy tables: a rule for each row of workflow/figures.yaml.

for row in FIGURE_ROWS:

    rule:
        name:
            f"plot_{row['name']}"
        input:
            **{key: INPUTS[key] for key in row["inputs"]},
        output:
            pdf=f"{paths.FIGURES}/{row['name']}.pdf",
            png=report(
                f"{paths.FIGURES}/{row['name']}.png",
                caption=f"../report/{row['name']}.rst",
                category=row["category"],
                labels={"study": "{study}", "what": f"{row['title']} (figure)"},
            ),
        log:
            f"logs/plot_{row['name']}/{{study}}.log",
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
            "../../analysis/figures/{params.name}.py"
