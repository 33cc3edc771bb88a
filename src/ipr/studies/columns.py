"""The columns of a study's results: what its tables, figures, statements and paper's numbers speak of."""

from __future__ import annotations

LABELS = {
    "scheme": "what protects the network, as of `scheme=`; baseline is the plain one",
    "model": "the kind of network, as of `model=`",
    "norm": "bn: batch norm, gn: group norm",
    "dataset": "the victim's data set, by the paper's name; the scale says what stands for it",
    "transfer": "the data set it was tuned to; none for its own task",
    "attack": "what was done to the network, as of `attack=`; none (trained) for a training",
    "exhibit": "what is shown, as of `exhibit=`; none elsewhere",
    "what": "what a row is about: a scheme, a layer, a kind of passport, ...",
    "phase": "of an exhibit: training or inference, before or after fine-tuning, weights, scales or shifts",
    "seed": "of the run",
    "energy": "|S| of the passports, where a scale varies it: a number, or `as published`",
    "whose": "genuine or forged: whose claim was judged",
    "way": "how a claim was forged",
    "point": "which point of an attack, e.g. `rate=0.5`",
    "deciding": "the conditions that a judge's decision on the claim rests on, by name",
    "layers": "which layers were changed, e.g. conv3+conv4",
    "layers_count": "how many layers were changed",
    "variant": "what a study's sweep sets beside all of these, in its words",
    "rate": "fraction that was pruned, or whose signs were flipped",
    "dissimilarity": "fraction of the signature that was asked to differ",
    "wrong": "fraction of the signature's bytes that is wrong",
    "index": "of an exhibit's row, e.g. the channel",
    "epoch": "of a training that was watched",
    "character": "of a signature that is text",
    "code": "its byte",
    "sign": "-1 or 1",
}
"""Columns that tell results apart."""

MEASURES = {
    "accuracy": "what a legitimate user gets (a training), is left with (removal), or what a claim reaches (ambiguity)",
    "accuracy_with_claim": "what the genuine passport, or an attack's claim, reaches",
    "accuracy_without": "accuracy with no passport",
    "accuracy_genuine": "accuracy with the genuine passport",
    "accuracy_forged": "mean accuracy with random passports",
    "accuracy_forged_best": "best accuracy with a random passport",
    "baseline": "accuracy of the baseline with the same norm and seed, trained or tuned alike",
    "by_chance": "accuracy of a guess among the data set's classes, where these are known",
    "gain": "accuracy less that baseline's",
    "lost": "accuracy before less accuracy after an attack, or with a claim",
    "lost_without": "accuracy with the genuine passport less that with none",
    "mark": "share of the bits, or trigger images, that is read with the claim",
    "bits": "how many bits are read with the claim",
    "chance": "base-2 logarithm of the chance that a guess reads as much of the mark",
    "mark_freed": "share of the bits that the suspect's own scales spell (V1, fine-tuned)",
    "triggers": "share of the trigger images answered as assigned, without a passport",
    "mark_over_accuracy": "mark less accuracy",
    "mark_read": "1 where chance does not explain the mark, 0 elsewhere",
    "fidelity_kept": "1 where accuracy is within epsilon_f, 0 elsewhere; none on another task",
    "upheld": "1 where a judge would verify the claim, dated as early as it can be, 0 elsewhere; none on other tasks",
    "inconclusive": "the same where he could not tell, for want of a calibration say",
    "succeeded": "1 where the attack succeeded (Definition 1.IV), 0 elsewhere",
    "seconds": "what a training, or an attack, took",
    "share_of_training": "what an attack took, as a fraction of the victim's training",
    "iterations": "steps of a forgery",
    "ratio": "time as a multiple of the plain network's in the same run",
    "seconds_per_1000": "seconds for 1,000 images",
    "distance": "Kolmogorov-Smirnov distance of two samples, or total variation of two histograms",
    "mean": "of a distribution",
    "std": "of a distribution",
    "share": "of a distribution: where an exhibit says which",
    "gamma": "a scale",
    "change": "how much something still moves: where an exhibit says what",
    "value": "any other fact of an exhibit",
}
"""Columns that are measured; accuracies and shares are fractions in [0, 1]."""

COLUMNS = {**LABELS, **MEASURES}

TRUTHS = ("mark_read", "fidelity_kept", "upheld", "inconclusive", "succeeded")
"""Columns that hold 1 for true and 0 for false."""
