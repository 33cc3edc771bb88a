"""Sections written by hand, with everything that makes a report difficult."""

from matplotlib.figure import Figure

from ipr.reports.section import CellState, Checked, Line, Picture, RunLink, Section, TableView, Value
from ipr.reports.subjects import subject_of


def curve(title: str = "Pruning") -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shares = [0, 20, 40, 60, 80, 90]
    axes.plot(shares, [66, 66, 65, 61, 40, 18], "o-", color="#0072b2", label="passport_v1")
    axes.plot(shares, [67, 67, 65, 60, 35, 12], "s--", color="#d55e00", label="uchida, $p < 10^{-3}$")
    axes.axhline(10, color="#333333", linewidth=1, linestyle=":", label="chance")
    axes.bar([20], [30], 6, color="#999999")
    axes.annotate("30", (20, 15), ha="center", va="center", color="white", fontsize=7)
    axes.grid(axis="y", color="#dddddd")
    axes.set_xlabel("pruned (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7)
    return figure


def sections() -> list[Section]:
    schemes = ("baseline", "passport_v1", "passport_v2", "passport_v3")
    table6 = TableView(
        "table_06",
        "Accuracy in %, mean ± standard deviation over n seeds; bits read in %.",
        ("scheme", "model", "data set", "accuracy", "after fine-tuning", "bits read"),
        [
            Line(
                (
                    Value(scheme), Value(model), Value(dataset),
                    Value(f"{base + i / 10:.1f} ± 0.{i + 2}", 3, f"{base + 20:.2f}"),
                    Value(f"{base - 2 + i / 10:.1f} ± 1.{i}", 3 - i % 2, f"{base + 15:.2f}") if i else Value(""),
                    Value("100.0", 3, "100") if i else Value("", paper="100"),
                ),
                subject_of([{"scheme": scheme, "model": model, "dataset": dataset, "attack": "finetune"}]),
            )
            for dataset, base in (("cifar10", 66), ("cifar100", 31))
            for model in ("alexnet", "resnet18")
            for i, scheme in enumerate(schemes)
        ],
        {"bits read": "share of the bits that is read"},
    )  # fmt: skip
    rates = tuple(f"{rate} %" for rate in range(0, 100, 10))
    pruning = TableView(
        "pruning",
        "Accuracy in % after pruning the smallest weights; one row a scheme.",
        ("scheme", *rates, "best & worst"),
        [
            Line(
                (Value(scheme), *(Value(f"{66 - r * r / 2 + i:.1f} ± 0.4", 3) for r in range(10)), Value("a|b <c>_d")),
                subject_of([{"scheme": scheme, "model": "alexnet", "dataset": "cifar10", "attack": "prune"}]),
            )
            for i, scheme in enumerate((*schemes, "uchida"))
        ],
    )
    digits = TableView(
        "quick",
        "What a minute of training gives.",
        ("quantity", "value"),
        [
            Line((Value("signature bits read"), Value("224 of 224", 1))),
            Line((Value("accuracy lost, in points"), Value("-0.3", 1)), subject_of([{"dataset": "digits"}])),
        ],
    )
    machine = "AMD EPYC, 2 threads; python 3.11.7, torch 2.14.1, lightning 2.6.6"
    return [
        Section(
            "table_06",
            "Table VI: fine-tuning",
            "Does the signature survive when the thief trains the network further on the owner's own data?",
            "Table VI of Fan, Ng and Chan",
            "cpu: AlexNet and ResNet-18 at width 0.25, a fifth of CIFAR-10 and CIFAR-100, 15 epochs",
            [table6],
            [],
            [
                Checked("signature_survives", "Every bit is read after fine-tuning.", True, "100.0 % of the bits"),
                Checked(
                    "accuracy_kept", "Fine-tuning costs at most 1 point.", False, "2.1 points (passport_v1, cifar10)",
                    "The learning rate of the attack is that of the full-width network; with a tenth of it the loss "
                    "is 0.4 points.",
                ),
                Checked("as_paper", "The order of the schemes is the paper's.", None, ""),
            ],
            [
                *(CellState(f"seed={i}", "ipr train", "done") for i in range(9)),
                CellState(
                    "passport_v2-resnet18-cifar100-seed2",
                    "ipr train study=table_06 scheme=passport_v2 model=resnet18 dataset=cifar100 seed=2",
                    "failed",
                    "loss=nan: training diverged in epoch 3 <script>alert(1)</script>; lower optimizer.lr",
                ),
                CellState("b", "ipr train", "running"), CellState("c", "ipr train", "planned"),
            ],
            [machine, "commit 0123456789abcdef0123456789abcdef01234567"],
            ["Baseline rows have no signature to read."],
        ),
        Section(
            "pruning",
            "Figure 6: pruning & <removal>",
            "How much can be pruned before the signature goes?",
            "Fig. 6",
            "smoke: one seed on handwritten digits",
            [pruning],
            [
                Picture(
                    "pruning", "Accuracy against the share of pruned weights.", curve(),
                    {"scheme": frozenset({"passport_v1", "uchida"}), "attack": frozenset({"prune"})}, curve("Narrow"),
                ),
                Picture("pruning", "The same, again.", curve("Again"), {"scheme": frozenset({"passport_v2"})}),
            ],
            [Checked("signatures_survive_pruning", "At 60 % every bit is read.", True, "100 % in 3 of 3 runs")],
            [CellState("a", "ipr attack", "done")],
            [machine],
        ),
        Section(
            "records", "Records of a folder", tables=[digits], provenance=[machine],
            runs=[RunLink("train/a & b", subject_of([{"dataset": "digits"}]), {"curves": "metrics.csv"})],
        ),
    ]  # fmt: skip
