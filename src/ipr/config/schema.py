"""What a run can be asked for, field by field. The YAML files under `conf/` choose values; misspelt fields fail here.

What `HIDDEN` names is never written into a run folder, a log or a dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"  # OmegaConf's mark for a value that a configuration must give

HIDDEN = (("scheme", "signature"), ("passport", "key"))
"""Fields that are hidden: the key, which is secret, and as a courtesy a text, which is not: weights can tell it."""


@dataclass
class ModelConfig:
    """A network: `model=alexnet|resnet18|resnet50|torchvision`."""

    name: str = MISSING  # or torchvision:NAME
    norm: str = MISSING  # bn | gn; by default what the paper pairs with the scheme
    width: float = 1.0  # multiplies the channels of every convolution
    passport_layers: list[str] = MISSING  # Table IV
    watermark_layer: str = MISSING  # whose mean filter carries a watermark's bits
    fidelity_threshold: float = MISSING  # epsilon_f of Section IV-D, a fraction


@dataclass
class SchemeConfig:
    """What is embedded: `scheme=baseline`, a passport (`passport_v1`, ...), or a watermark (`uchida`, ...)."""

    name: str = MISSING  # which scheme: set by scheme=NAME
    norm: str = MISSING  # the norm that the paper pairs with it: bn | gn


@dataclass
class PassportSchemeConfig(SchemeConfig):
    """Fields of every passport scheme."""

    layers: list[str] = MISSING  # convolutions to protect, or modules that hold them
    signature: str | None = None  # text to write, no secret; null for random bits
    bound: bool = False  # write the bits that passport, owner and key hash to, in the place of a text (docs/claims.md)
    sign_loss_weight: float = 0.1  # how much the signs of the scales count in the loss (Eq. 6)
    gamma_0: float = 0.1  # the magnitude asked of each scale (Eq. 6)
    gamma_regulariser: float = 1e-5  # weight of the sum of gamma^2


@dataclass
class PassportV1Config(PassportSchemeConfig):
    """V1: passport distributed with the network."""

    embed_trigger_set: bool = False  # also train on trigger images


@dataclass
class PassportV2Config(PassportSchemeConfig):
    """V2: private passport."""

    alternation: str = "joint"  # joint | alternate


@dataclass
class PassportV3Config(PassportV2Config):
    """V3: private passport and trigger set."""


@dataclass
class WatermarkSchemeConfig(SchemeConfig):
    """A watermark that passports compete with: its secrets are drawn from the seed and passport.key."""


@dataclass
class UchidaConfig(WatermarkSchemeConfig):
    """Uchida et al. 2017: bits in a projection of a mean filter."""

    layer: str = MISSING  # a convolution, or a module whose first one is taken
    bits: int = 256  # T
    signature: str | None = None  # text to write, no secret; null for random bits
    weight: float = 0.01  # lambda


@dataclass
class DeepMarksConfig(WatermarkSchemeConfig):
    """DeepMarks: an anti-collusion code word as a fingerprint vector."""

    layer: str = MISSING  # as in uchida
    order: int = 11  # of the code's projective plane, a prime; order^2 + order + 1 bits
    weight: float = 0.1  # gamma


@dataclass
class DeepSignsConfig(WatermarkSchemeConfig):
    """DeepSigns: bits in projected mean activations."""

    classes: int = 4  # S, classes that carry bits
    bits: int = 32  # T, bits of each
    images: int = 32  # key images of each
    centre_weight: float = 0.001  # lambda_1
    weight: float = 0.3  # lambda_2


@dataclass
class KeyImagesConfig(WatermarkSchemeConfig):
    """Key images (trigger_set.size and trigger_set.per_step say how many): Adi, Zhang, Le Merrer, Guo."""


@dataclass
class FrontierStitchingConfig(KeyImagesConfig):
    """Frontier stitching: a trained plain network is tuned to its own adversaries."""

    epsilon: float = 0.03  # of the pixels' range
    epochs: int = 10  # of the tuning; trainer.max_epochs is the plain network's
    lr: float = 0.01  # of the tuning


@dataclass
class GuoPotkonjakConfig(KeyImagesConfig):
    """Guo and Potkonjak 2018: a message's pattern on training images."""

    signature: str | None = None  # the message, no secret; null for a random pattern


SCHEME_CONFIGS: dict[str, type[SchemeConfig]] = {
    "baseline": SchemeConfig,
    "passport_v1": PassportV1Config,
    "passport_v2": PassportV2Config,
    "passport_v3": PassportV3Config,
    "uchida": UchidaConfig,
    "deepmarks": DeepMarksConfig,
    "deepsigns": DeepSignsConfig,
    "trigger_set": KeyImagesConfig,
    "zhang_content": KeyImagesConfig,
    "zhang_noise": KeyImagesConfig,
    "zhang_unrelated": KeyImagesConfig,
    "frontier_stitching": FrontierStitchingConfig,
    "guo_potkonjak": GuoPotkonjakConfig,
}
"""What can be embedded -> what of it can be set."""


@dataclass
class PassportConfig:
    """How passports are made: `passport=random|image|shuffled`."""

    name: str = MISSING  # how it is made: random | image | shuffled
    images: int = 20  # N of Section III-B c), for each of P_gamma and P_beta
    energy: float | None = 3.0  # |S| of every passport; null for as published
    key: str | None = None  # SECRET: file:PATH or env:NAME; without it all secrets follow from the seed


@dataclass
class TriggerSetConfig:
    """Trigger images: `trigger_set=abstract|folder`."""

    name: str = MISSING  # which images: abstract | folder
    size: int = 100  # how many trigger images
    root: str | None = None  # trigger_set=folder: the folder of images
    per_step: int = 2  # t of Algorithms 2 and 6


@dataclass
class DatasetConfig:
    """Images: `dataset=digits|digits_rgb|cifar10|cifar100|caltech101|image_folder`."""

    name: str = MISSING  # set by dataset=NAME
    root: str | None = None  # a local image folder
    download: bool = False  # let torchvision fetch it where it is missing
    image_size: int = 32  # pixels
    part: str | None = None  # of the training images: 1/2 for the first of two disjoint, class-balanced parts
    limit_train: int | None = None  # so many of them, class-balanced and fixed
    limit_test: int | None = None  # so many test images, class-balanced and fixed
    validation: float = 0.0  # of the training images, a fraction that is held out: curves by epoch (docs/curves.md)
    crop_padding: int = 4  # pixels; 0 for no random crop
    flip: bool = True  # mirror images at random


@dataclass
class OptimizerConfig:
    """How it is trained: `optimizer=default|published`."""

    name: str = MISSING  # set by optimizer=NAME
    lr: float = MISSING  # learning rate, the highest of the schedule
    momentum: float = MISSING  # of SGD
    weight_decay: float = MISSING  # of SGD
    schedule: str = MISSING  # how the rate changes: cosine | step | constant
    warmup: float = MISSING  # share of the training in which the rate rises, a fraction
    clip_norm: float | None = MISSING  # largest norm of a gradient; null for no clipping
    batch_size: int = MISSING  # images of a step, over all processes


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
    checkpoint_seconds: float = 60.0  # at most one checkpoint in so many, and the last; 0 for one an epoch
    progress_bar: bool = True  # show one in training
    limit_train_batches: float | None = None  # of every epoch: so many, from 1 on, or a fraction below 1; null for all
    fast_dev_run: Any = False  # true, or a number of batches: try everything with so many, and keep nothing


@dataclass
class LoggerConfig:
    """Where metrics go besides metrics.csv: `logger=wandb|csv|mlflow|tensorboard`."""

    name: str = MISSING  # wandb | csv: set by logger=NAME
    mode: str = "offline"  # offline | online | disabled
    project: str = "ipr"  # of W&B
    entity: str | None = None  # the W&B team or user; by default that of the login


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
    optimizer: OptimizerConfig = MISSING  # the recipe
    trainer: TrainerConfig = MISSING  # how long, and on what
    logger: LoggerConfig = MISSING  # where metrics go
    paths: PathsConfig = MISSING  # folders
    verification: VerificationConfig = field(default_factory=VerificationConfig)  # how the run is judged
    owner: str = ""  # the name that the claim bears; not secret
    seed: int = 0  # everything random follows from it
    tags: list[str] = field(default_factory=list)  # words to find the run by: [one,two]
    objective: str = "accuracy"  # the number that a sweeper optimises: a field of the record (docs/commands.md)


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
    answers: str | None = None  # a folder that keeps the answers, so that asking goes on where it stopped


@dataclass
class RuleConfig:
    """What a claim must show: `rule=sound|paper`; conditions are `auto` (by the rule), `required` or `reported`."""

    name: str = MISSING  # sound: forgers are reckoned with; paper: Definition 1 alone
    p_value: float | None = None  # the largest chance of a guess; null: 2^-80 from 200 bits on, else 2^-40
    fidelity: float = 0.03  # epsilon_f, a fraction; a claim may be stricter than both
    commitment: str = "auto"  # that it was committed to before the release; auto: sound requires it
    null: str = "auto"  # that it was calibrated; auto: sound requires it where no passport is presented
    drawn: str = "auto"  # that nobody chose the secrets; auto: sound requires it
    bound: str = "auto"  # that the signature is derived from the passport; auto: reported
    networks: int = 20  # how many independent networks a calibration must have asked


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
    paths: PathsConfig = MISSING  # folders
    rule: RuleConfig = field(default_factory=RuleConfig)  # what a claim must show
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
    optimizer: OptimizerConfig = MISSING  # how the independent networks are trained
    trainer: TrainerConfig = MISSING  # how long, and on what
    logger: LoggerConfig = MISSING  # where their metrics go
    paths: PathsConfig = MISSING  # folders
    rule: RuleConfig = field(default_factory=RuleConfig)  # what a claim must show
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
