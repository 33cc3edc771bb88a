"""What a run can be asked for, field by field. The YAML files under `conf/` choose values; misspelt fields fail here.

What `HIDDEN` names is never written into a run folder, a log or a dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"  # OmegaConf's mark for a value that a configuration must give

HIDDEN = (("scheme", "signature"), ("passport", "key"))
"""Fields that are hidden: the key, which is secret, and as a courtesy a text, which is not: weights can tell it."""

BOUND = "bound"
"""The signature of a passport scheme that is not a text: it asks for the bits that passport and owner hash to."""


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

    name: str = MISSING
    norm: str = MISSING


@dataclass
class PassportSchemeConfig(SchemeConfig):
    """Fields of every passport scheme."""

    layers: list[str] = MISSING  # convolutions to protect, or modules that hold them
    signature: str | None = None  # text to write, no secret; null for random bits; bound (docs/claims.md)
    sign_loss_weight: float = 0.1
    gamma_0: float = 0.1
    gamma_regulariser: float = 1e-5


@dataclass
class PassportV1Config(PassportSchemeConfig):
    """V1: passport distributed with the network."""

    embed_trigger_set: bool = False


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
    lr: float = 0.01


@dataclass
class GuoPotkonjakConfig(KeyImagesConfig):
    """Guo and Potkonjak 2018: a message's pattern on training images."""

    signature: str | None = None  # the message, no secret; null for a random pattern


@dataclass
class PassportConfig:
    """How passports are made: `passport=random|image|shuffled`."""

    name: str = MISSING
    images: int = 20  # N of Section III-B c), for each of P_gamma and P_beta
    energy: float | None = 3.0  # |S| of every passport; null for as published
    key: str | None = None  # SECRET: file:PATH or env:NAME; without it all secrets follow from the seed


@dataclass
class TriggerSetConfig:
    """Trigger images: `trigger_set=abstract|folder`."""

    name: str = MISSING
    size: int = 100
    root: str | None = None
    per_step: int = 2  # t of Algorithms 2 and 6


@dataclass
class DatasetConfig:
    """Images: `dataset=digits|digits_rgb|cifar10|cifar100|caltech101|image_folder`."""

    name: str = MISSING
    root: str | None = None  # a local image folder
    download: bool = False
    image_size: int = 32  # pixels
    part: str | None = None  # of the training images: 1/2 for the first of two disjoint, class-balanced parts
    limit_train: int | None = None  # so many of them, class-balanced and fixed
    limit_test: int | None = None
    validation: float = 0.0  # of the training images, a fraction that is held out: curves by epoch (docs/curves.md)
    crop_padding: int = 4  # pixels; 0 for no random crop
    flip: bool = True


@dataclass
class OptimizerConfig:
    """How it is trained: `optimizer=default|published`."""

    name: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    schedule: str = MISSING
    warmup: float = MISSING
    clip_norm: float | None = MISSING
    batch_size: int = MISSING


@dataclass
class TrainerConfig:
    """How long, and on what."""

    max_epochs: int = 20
    precision: str = "32-true"  # 32-true | 64-true | bf16-mixed | 16-mixed (GPU)
    memory_format: str = "channels_last"  # channels_last | contiguous
    compile: bool = False  # torch.compile, which needs a C++ compiler; pays on long trainings (docs/performance.md)
    accelerator: str = "auto"
    devices: int = 1  # processes on each machine, one a GPU; they share every batch (docs/cluster.md)
    nodes: int = 1  # machines; above 1, Slurm or torchrun starts the processes
    deterministic: bool = True
    progress_bar: bool = True
    limit_train_batches: float | None = None  # of every epoch: so many, from 1 on, or a fraction below 1; null for all
    fast_dev_run: Any = False  # true, or a number of batches: try everything with so many, and keep nothing


@dataclass
class LoggerConfig:
    """Where metrics go besides metrics.csv: `logger=wandb|csv|mlflow|tensorboard`."""

    name: str = MISSING
    mode: str = "offline"  # offline | online | disabled
    project: str = "ipr"
    entity: str | None = None


@dataclass
class PathsConfig:
    """Folders."""

    runs: str = "runs"
    data: str = "data"
    cache: str = MISSING
    judge: str = "~/.config/ipr/judge.pem"  # the judge's private key; made by the first calibration


@dataclass
class VerificationConfig:
    """How a run is judged; changing it judges anew and trains nothing."""

    forged: int = 50  # K
    fidelity_threshold: float = MISSING  # epsilon_f, a fraction
    p_value: float = 2.0**-40


@dataclass
class TrainConfig:
    """`ipr train`."""

    dataset: DatasetConfig = MISSING
    model: ModelConfig = MISSING
    scheme: SchemeConfig = MISSING
    passport: PassportConfig = MISSING
    trigger_set: TriggerSetConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    trainer: TrainerConfig = MISSING
    logger: LoggerConfig = MISSING
    paths: PathsConfig = MISSING
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    owner: str = ""  # the name that the claim bears; not secret
    seed: int = 0
    tags: list[str] = field(default_factory=list)


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
    dataset: DatasetConfig = MISSING
    paths: PathsConfig = MISSING
    rule: RuleConfig = field(default_factory=RuleConfig)
    endpoint: EndpointConfig = MISSING
    authority_certificate: str | None = None  # PEM: whose time stamps in the claims' folders are believed
    tried: int = 1  # how many claims, or suspects, the claimant tried, this one included
    forged: int = 50
    out: str | None = None  # a folder for what is written; by default one in <paths.runs>
    seed: int = 0


@dataclass
class VerifyConfig(JudgeConfig):
    """`ipr verify`."""

    claim: str = MISSING  # a claim folder
    commitment: CommitmentConfig = field(default_factory=CommitmentConfig)
    reference: str | None = None  # the public weights that were committed to: the suspect is matched to them first
    calibration: str | None = None  # the calibration.json of this claim, made by this judge
    sign: str | None = None  # the private key that the verdict is signed with


@dataclass
class CommitmentsConfig:
    """What the judge knows of several commitments, in the order of the claims; null for what he does not."""

    digest: list[str | None] = field(default_factory=list)
    registered: list[str | None] = field(default_factory=list)
    released: str | None = None  # one day: that of the suspect


@dataclass
class DisputeConfig(JudgeConfig):
    """`ipr dispute`."""

    claims: list[str] = MISSING  # claim folders, two or more
    commitment: CommitmentsConfig = field(default_factory=CommitmentsConfig)
    reference: list[str | None] = field(default_factory=list)  # the public weights that each claim committed to
    calibration: list[str | None] = field(default_factory=list)  # calibration.json of each claim, or nothing


@dataclass
class VerdictConfig:
    """`ipr verdict`."""

    verb: str = ""  # check | key: the first word after `ipr verdict`
    envelope: str | None = None  # check: a signed verdict
    key: str | None = None  # check: the judge's public key; key: a private key, by default paths.judge
    suspect: str | None = None  # check: a weights file that the verdict must be about
    paths: PathsConfig = MISSING


@dataclass
class CalibrateConfig:
    """`ipr calibrate`."""

    claim: str = MISSING  # a claim folder
    dataset: DatasetConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    trainer: TrainerConfig = MISSING
    logger: LoggerConfig = MISSING
    paths: PathsConfig = MISSING
    rule: RuleConfig = field(default_factory=RuleConfig)
    suspect: str | None = None  # the network that carries the mark, a weights file
    independent: list[str] = field(default_factory=list)  # further networks that do not: weights files, or run folders
    networks: int = 20  # how many to train
    copies: int = 5  # of the marked network, for each way in which a thief changes it; 0 for none
    wrong: int = 3000  # wrong claims that could be dated, by signature, and as many by images, at the least
    rate: float = 0.001  # of wrong claims that may be verified, a fraction
    out: str | None = None  # a folder; by default one in <paths.runs>/calibration
    seed: int = 0


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
    dataset: MovedImages = field(default_factory=MovedImages)
    paths: PathsConfig = MISSING


@dataclass
class UnlockConfig:
    """`ipr unlock`."""

    weights: str = MISSING  # a locked file of scheme V1: safetensors or torch
    claim: str = MISSING  # a claim folder
    out: str | None = None  # a file; by default beside the weights


@dataclass
class DashboardConfig:
    """`ipr dashboard`."""

    paths: PathsConfig = MISSING
    project: str = "ipr"  # as logger.project of the runs
    entity: str | None = None  # as logger.entity; by default that of the login
    tag: str | None = None  # only runs that carry this tag
    out: str | None = None  # a file for the workspace; without a login <paths.runs>/dashboard.json
