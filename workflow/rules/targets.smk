# What people ask for by name.

TABLE_NAMES = ["accuracy", "costs", "paired_differences", "claims"]
if checked(lorasb_config.load_study, STUDY)["learning_rates"] == "selected":
    TABLE_NAMES.append("learning_rates")
FIGURE_NAMES = ["score_vs_trainable", "score_vs_stored", "training_loss"]
if checked(resolve.compares_directions, STUDY):
    FIGURE_NAMES.append("direction_preservation")
if checked(resolve.keeps_snapshots, STUDY):
    FIGURE_NAMES += ["gradient_alignment", "subspace_energy"]
    FIGURE_NAMES += ["principal_angles", "alignment_by_module"]


rule tables:
    input:
        expand(f"{grid.TABLES}/{{name}}.md", study=STUDY, name=TABLE_NAMES),


rule figures:
    input:
        expand(f"{grid.FIGURES}/{{name}}.png", study=STUDY, name=FIGURE_NAMES),


rule sweep:
    input:
        expand(f"{grid.TABLES}/selected_lr.tsv", study=STUDY),
        expand(f"{grid.FIGURES}/learning_rate_sweep.png", study=STUDY),


rule plan:
    log:
        f"logs/plan/{STUDY}.log",
    conda:
        "../envs/lorasb.yaml"
    params:
        study=STUDY,
    shell:
        "python -m lorasb plan --study {params.study} 2> {log}"
