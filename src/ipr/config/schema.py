"""What a run can be asked for, field by field. The YAML files under `conf/` choose values; misspelt fields fail here.

What `HIDDEN` names is never written into a run folder, a log or a dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ipr.config.recipe import MISSING as MISSING
from ipr.config.recipe import Recipe
from ipr.config.rule import Rule

HIDDEN = (("scheme", "signature"), ("passport", "key"))
"""Fields that are hidden: the key, which is secret, and as a courtesy a text, which is not: weights can tell it."""

HIDDEN_KEYS = tuple(f"{group}.{name}" for group, name in HIDDEN)


@dataclass
class ModelConfig:
    """A network: `model=alexnet|resnet18|resnet50|vit|torchvision|timm`."""

    name: str = MISSING  # one of ours, torchvision:NAME or timm:NAME
    norm: str = MISSING  # bn | gn; by default that of the scheme
    width: float = 1.0  # multiplies the channels of every convolution
    passport_layers: list[str] = MISSING  # the convolutions that get a passport (Table IV)
    watermark_layer: str = MISSING  # the convolution whose mean filter carries a watermark's bits
    fidelity_threshold: float = MISSING  # epsilon_f of Section IV-D, a fraction
    weights: str | None = None  # published by its library, to start from: DEFAULT or their name; null: random ones


@dataclass
class SchemeConfig:
    """What is embedded: `scheme=baseline`, a passport (`passport_v1`, ...), or a watermark (`uchida`, ...)."""

    name: str = MISSING  # which scheme: set by scheme=NAME
    norm: str = MISSING  # the norm of its networks where none is asked for: bn | gn


@dataclass
class PassportConfig:
    """How passports are made: `passport=random|image|shuffled`."""

    name: str = MISSING  # how it is made: random | image | shuffled
    images: int = 20  # N of Section III-B c), for each of P_gamma and P_beta
    energy: float | None = 30.0  # |S| of every passport: a high one hides it in the weights; null for as published
    step_energy: float | None = None  # |S| as at which scales are trained; null for 3, or energy where that is less
    key: str | None = None  # SECRET: file:PATH or env:NAME; without it all secrets follow from the seed


@dataclass
class TriggerSetConfig:
    """Trigger images: `trigger_set=abstract|folder`."""

    name: str = MISSING  # which images: abstract | folder
    size: int = 100  # how many trigger images
    root: str | None = None  # trigger_set=folder: the folder of images
    per_step: int | None = None  # images of every step, t of Algorithms 2 and 6; null for as many as training needs


@dataclass
class DatasetConfig:
    """Images: `dataset=digits|digits_rgb|cifar10|cifar100|caltech101|image_folder`."""

    name: str = MISSING  # set by dataset=NAME
    root: str | None = None  # a local image folder
    download: bool = False  # let torchvision fetch it where it is missing
    image_size: int = 32  # pixels
    resize: Any = None  # pictures: shorter side before a crop of image_size, or [height,width]; null: to image_size
    interpolation: str | None = None  # of resize: nearest | bilinear | bicubic | lanczos | ...; null for bilinear
    mean: list[float] | None = None  # of each channel, in [0, 1], to normalise by; null: of the training images
    std: list[float] | None = None  # of each channel, to divide by after that; null: of the training images
    recorded: Any = None  # how a claim says that pictures are read: set by images=FOLDER of a judge
    part: str | None = None  # a part of the training images: 1/2 is the first of two disjoint, class-balanced ones
    limit_train: int | None = None  # how many training images, class-balanced and fixed; null for all
    limit_test: int | None = None  # how many test images, class-balanced and fixed; null for all
    validation: float = 0.0  # fraction of the training images that is held out: curves by epoch (docs/curves.md)
    crop_padding: int = 4  # pixels; 0 for no random crop
    flip: bool = True  # mirror images at random


@dataclass
class TrainerConfig:
    """How long, and on what."""

    max_epochs: int = 20  # passes over the training images
    precision: str = "32-true"  # 32-true | 64-true | bf16-mixed | 16-mixed (GPU)
    memory_format: str = "auto"  # auto | channels_last | contiguous; auto: as the norms of the network are faster
    compile: bool = False  # torch.compile: needs a C++ compiler, on a GPU one of C; pays on long trainings
    accelerator: str = "auto"  # auto | cpu | gpu | cuda | mps
    devices: int = 1  # processes on each machine, one a GPU; they share every batch (docs/cluster.md)
    nodes: int = 1  # machines; above 1, Slurm or torchrun starts the processes
    deterministic: bool = True  # the same seed gives the same bits
    tf32: bool | None = None  # products of float32 numbers rounded to 10 bits, on a GPU; null: of convolutions alone
    autotune: bool = False  # cuDNN tries its algorithms and takes the fastest; not where runs are deterministic
    capture: bool = False  # record a step as a CUDA graph and replay it: the same numbers, less work for the host
    checkpoint_seconds: float = 60.0  # between two checkpoints, at least; the last is always kept; 0: one an epoch
    progress_bar: bool = True  # show one in training
    limit_train_batches: float | None = None  # of an epoch: a number from 1 on, or a fraction below 1; null for all
    fast_dev_run: Any = False  # true, or a number of batches: try everything with these alone, and keep nothing

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.nodes


@dataclass
class LoggerConfig:
    """Where metrics go besides metrics.csv: `logger=wandb|csv|mlflow|tensorboard`."""

    name: str = MISSING  # wandb | csv: set by logger=NAME
    mode: str = "offline"  # offline | online | disabled
    project: str = "ipr"  # of W&B
    entity: str | None = None  # the W&B team or user; by default that of the login
    artifacts: bool = False  # gives W&B the public weights and a model card of every training whose embedding succeeded


@dataclass
class PathsConfig:
    """Folders."""

    runs: str = "runs"  # the folder of runs
    data: str = "data"  # where data sets lie, and are downloaded to
    cache: str = MISSING  # decoded images; may be deleted at any time
    judge: str = "~/.config/ipr/judge.pem"  # the judge's private key; made by the first calibration


@dataclass
class VerificationConfig:
    """How a run is judged; changing it judges anew and trains nothing."""

    forged: int = 50  # random passports that are tried, K
    fidelity_threshold: float = MISSING  # how much accuracy a passport may cost, epsilon_f, a fraction
    p_value: float = 2.0**-40  # largest chance of a guess at which a mark counts as read


@dataclass
class TrainConfig:
    """`ipr train`."""

    dataset: DatasetConfig = MISSING  # the images
    model: ModelConfig = MISSING  # the network
    scheme: SchemeConfig = MISSING  # what is embedded
    passport: PassportConfig = MISSING  # the passport
    trigger_set: TriggerSetConfig = MISSING  # the trigger images
    optimizer: Recipe = MISSING  # the recipe
    trainer: TrainerConfig = MISSING  # how long, and on what
    logger: LoggerConfig = MISSING  # where metrics go
    paths: PathsConfig = MISSING  # folders
    verification: VerificationConfig = field(default_factory=VerificationConfig)  # how the run is judged
    owner: str = ""  # the name that the claim bears; not secret
    seed: int = 0  # everything random follows from it
    init: str | None = None  # weights to start from: baseline (trained first), a training's folder or name, a file
    tags: list[str] = field(default_factory=list)  # words to find the run by: [one,two]
    objective: Any = "accuracy"  # the number, or [numbers], that a sweeper optimises: of the record (docs/search.md)


@dataclass
class ProtectConfig(TrainConfig):
    """`ipr protect`."""

    weights: str = MISSING  # of the trained network: a weights file, or a training's folder or name


@dataclass
class EndpointConfig:
    """How a suspect that only answers over the network is asked (docs/blackbox.md)."""

    batch_size: int = 32  # images of one request
    timeout_seconds: float = 30.0  # for the connection, and for the whole of each answer
    retries: int = 4  # after a failed connection, silence, or an answer that says "later"
    rate: float | None = None  # requests a second; null for as fast as it answers
    budget: int | None = None  # images that may be sent in all; null for no limit
    input: str | None = None  # the model's input, where it has several or does not say
    output: str | None = None  # the model's output, where it has several
    test_images: int | None = 200  # ordinary test images sent among the trigger images; null for all, 0 for none
    slight_changes: bool = False  # send every image once more, slightly changed: a filter may give itself away
    answers: str | None = None  # a folder that keeps the answers, so that asking goes on where it stopped


@dataclass
class CommitmentConfig:
    """What the judge knows of a commitment from elsewhere: a day, or a time such as 2026-01-31T12:00:00Z (UTC)."""

    digest: str | None = None  # as registered, hexadecimal; a time stamp names it
    registered: str | None = None  # by the judge's word; a time stamp says it
    released: str | None = None  # when the network became public


@dataclass
class JudgeConfig:
    """How a suspect is judged, whoever claims it."""

    suspect: str = MISSING  # a weights file, or the http(s) address of a model that answers
    dataset: DatasetConfig = MISSING  # the images that are judged on
    images: str | None = None  # instead: a folder of pictures, read as the claim records: <class>/<image>
    paths: PathsConfig = MISSING  # folders
    rule: Rule = field(default_factory=Rule)  # what a claim must show
    endpoint: EndpointConfig = MISSING  # how a suspect that answers is asked
    authority_certificate: str | None = None  # PEM: whose time stamps in the claims' folders are believed
    accelerator: str = "auto"  # auto | cpu | gpu | cuda: what a weights file is judged on; auto: a GPU if there is one
    tried: int = 1  # how many claims, or suspects, the claimant tried, this one included
    forged: int = 50  # random passports that are tried
    out: str | None = None  # a folder for what is written; by default one in <paths.runs>
    seed: int = 0  # of these passports


@dataclass
class VerifyConfig(JudgeConfig):
    """`ipr verify`."""

    claim: str = MISSING  # a claim folder
    commitment: CommitmentConfig = field(default_factory=CommitmentConfig)  # what the judge knows of it
    reference: str | None = None  # the public weights that were committed to: the suspect is matched to them first
    calibration: str | None = None  # the calibration.json of this claim, made by this judge
    sign: str | None = None  # the private key that the verdict is signed with
    witness: list[str] = field(
        default_factory=list
    )  # fingerprints beside the claim, claim folders; they decide nothing
    independent: list[str] = field(default_factory=list)  # networks to compare them with: weights files, or run folders


@dataclass
class CommitmentsConfig:
    """What the judge knows of several commitments, in the order of the claims; null for what he does not."""

    digest: list[str | None] = field(default_factory=list)  # as registered, hexadecimal
    registered: list[str | None] = field(default_factory=list)  # by the judge's word
    released: str | None = None  # one day: that of the suspect


@dataclass
class DisputeConfig(JudgeConfig):
    """`ipr dispute`."""

    claims: list[str] = MISSING  # claim folders, two or more
    commitment: CommitmentsConfig = field(default_factory=CommitmentsConfig)  # what the judge knows of each
    reference: list[str | None] = field(default_factory=list)  # the public weights that each claim committed to
    calibration: list[str | None] = field(default_factory=list)  # calibration.json of each claim, or nothing


@dataclass
class VerdictConfig:
    """`ipr verdict`."""

    verb: str = ""  # check | key: the first word after `ipr verdict`
    envelope: str | None = None  # check: a signed verdict
    key: str | None = None  # check: the judge's public key; key: a private key, by default paths.judge
    suspect: str | None = None  # check: a weights file that the verdict must be about
    paths: PathsConfig = MISSING  # folders


@dataclass
class CalibrateConfig:
    """`ipr calibrate`."""

    claim: str = MISSING  # a claim folder
    dataset: DatasetConfig = MISSING  # the images
    images: str | None = None  # instead: a folder train/<class>/<image> and test/..., read as the claim records
    optimizer: Recipe = MISSING  # how the independent networks are trained
    trainer: TrainerConfig = MISSING  # how long, and on what
    logger: LoggerConfig = MISSING  # where their metrics go
    paths: PathsConfig = MISSING  # folders
    rule: Rule = field(default_factory=Rule)  # what a claim must show
    suspect: str | None = None  # the network that carries the mark, a weights file
    independent: list[str] = field(default_factory=list)  # further networks that do not: weights files, or run folders
    networks: int = 20  # how many to train
    processes: int | None = None  # how many of them at a time; by default as many as hydra/launcher=joblib would
    copies: int = 5  # of the marked network, for each way in which a thief changes it; 0 for none
    wrong: int = 3000  # wrong claims that could be dated, by signature, and as many by images, at the least
    rate: float = 0.001  # of wrong claims that may be verified, a fraction
    out: str | None = None  # a folder; by default one in <paths.runs>/calibration
    seed: int = 0  # everything random follows from it


@dataclass
class ClaimConfig:
    """`ipr claim`."""

    verb: str = ""  # show | check | commit | stamp: the first word after `ipr claim`
    claim: str = MISSING  # a claim folder
    weights: str | None = None  # commit: the public weights; by default ../public.safetensors, beside the claim
    authority: str | None = None  # stamp: the address of a time-stamping authority (RFC 3161)
    authority_certificate: str | None = None  # check, stamp: the authority's root certificates, a PEM file


@dataclass
class MovedImages:
    """Where a run's images have moved."""

    root: str | None = None  # by default where they were in training


@dataclass
class ExportConfig:
    """`ipr export`."""

    run: str = MISSING  # a run folder, or the key of one below paths.runs
    format: str = "safetensors"  # safetensors | torch | onnx
    kind: str | None = None  # of scheme V1 locked (the default) or folded; of all others public
    out: str | None = None  # a file; by default in the run's folder export
    dataset: MovedImages = field(default_factory=MovedImages)  # where the run's images are now
    paths: PathsConfig = MISSING  # folders


@dataclass
class UnlockConfig:
    """`ipr unlock`."""

    weights: str = MISSING  # a locked file of scheme V1: safetensors or torch
    claim: str = MISSING  # a claim folder
    out: str | None = None  # a file; by default beside the weights


@dataclass
class DashboardConfig:
    """`ipr dashboard`."""

    paths: PathsConfig = MISSING  # folders
    project: str = "ipr"  # as logger.project of the runs
    entity: str | None = None  # as logger.entity; by default that of the login
    tag: str | None = None  # only runs that carry this tag
    out: str | None = None  # a file for the workspace; without a login <paths.runs>/dashboard.json
