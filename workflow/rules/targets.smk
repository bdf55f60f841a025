# What people ask for by name.

TABLE_NAMES = ["accuracy", "costs", "paired_differences", "claims", "prepared_data"]
if checked(lorasb_config.load_study, STUDY)["learning_rates"] == "selected":
    TABLE_NAMES.append("learning_rates")
if checked(resolve.has_evaluation_sets, STUDY):
    TABLE_NAMES.append("accuracy_by_set")
if models_of_paper() & set(checked(lorasb_config.load_study, STUDY)["models"]):
    TABLE_NAMES.append("paper")
FIGURE_NAMES = ["score_vs_trainable", "score_vs_stored", "training_loss"]
if checked(resolve.compares_directions, STUDY):
    FIGURE_NAMES.append("direction_preservation")
if checked(resolve.keeps_snapshots, STUDY):
    FIGURE_NAMES += ["gradient_alignment", "subspace_energy"]
    FIGURE_NAMES += ["principal_angles", "alignment_by_module", "captured_energy"]
VARIED = checked(resolve.varied_arguments, STUDY)
if "scaling" in VARIED:
    FIGURE_NAMES.append("scale_sensitivity")
if "samples" in VARIED:
    FIGURE_NAMES.append("gradient_samples")
if VARIED & {"noise", "signal"}:
    FIGURE_NAMES.append("noise_level")


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
