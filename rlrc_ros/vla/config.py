# Copyright 2026 The rlrc_ros Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
The architecture as data: towers, projector, decoder with per-layer widths, action head.

One set of classes describes every size, from the nano policy to OpenVLA-7B, dense or pruned; the
code in vision.py, language.py and model.py reads nothing else. JSON in, JSON out; a value that
cannot work is refused here, by name.
"""

from dataclasses import asdict, dataclass
import math

MODEL_TYPE = 'rlrc_vla'
STEMS = ('patch', 'conv')
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCHEMES = ('bf16', 'int4', 'int8', 'nf4', 'llm.int8')
QUANTIZED_PARTS = ('decoder', 'head', 'vision', 'projector')
GROUP_SIZES = (32, 64, 128, 256)
"""What torch's int4 kernels know, on CPU and CUDA."""
TABLE_SCHEMES = ('bf16', 'int8')
PREFILLS = ('packed', 'bf16')
RESIZE_STRATEGIES = ('resize-naive', 'letterbox', 'resize-crop')
MAIN_CAMERA = 'image'
"""The camera that every policy reads; Observation.image holds its picture."""
PARALLEL_HEADS = ('l1', 'discrete')
NORMALISATIONS = ('bounds_q99', 'bounds')
PROPRIO_LAYOUTS = {'xyz_rpy_gripper': 7, 'xyz_axis_angle_fingers': 8, 'joints_gripper': 7}
"""What a proprio vector can hold, and its length; rlrc_ros/arm/proprio.py makes them."""
OPENVLA_PROMPT = 'In: What action should the robot take to {instruction}?\nOut:'
VICUNA_PROMPT = (
    'A chat between a curious user and an artificial intelligence assistant. The assistant gives '
    "helpful, detailed, and polite answers to the user's questions. "
    'USER: What action should the robot take to {instruction}? ASSISTANT:')
"""OpenVLA v01's: its decoder is Vicuna."""


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names the value and valid ones."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class TowerConfig:
    """One vision transformer; only the blocks up to the feature layer exist."""

    embed_dim: int
    depth: int
    """Blocks of the published tower; the features leave after block depth - 2 (OpenVLA)."""
    num_heads: int
    mlp_hidden: int
    image_size: int
    patch_size: int
    register_tokens: int = 0
    class_token: bool = False
    layer_scale: bool = False
    stem: str = 'patch'
    """`patch`: one convolution a patch (ViT); `conv`: strided 3x3 convolutions, which small towers
    need to see where things are."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    blocks: tuple['LayerWidths', ...] = ()
    """Widths of the used blocks where pruning made them differ; empty: num_heads, mlp_hidden."""

    def __post_init__(self) -> None:
        _require(self.depth >= 2, f'a tower has at least 2 blocks, got depth {self.depth}')
        _require(self.num_heads >= 1 and self.patch_size >= 1,
                 f'num_heads and patch_size are at least 1, got {self.num_heads} and '
                 f'{self.patch_size}')
        _require(self.embed_dim % self.num_heads == 0,
                 f'embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}')
        _require(self.stem in STEMS, f'stem {self.stem!r} is not known; there are: {STEMS}')
        # A ViT's stem leaves out what does not fill a patch: 384 px are 27 patches of 14 px.
        _require(self.image_size >= self.patch_size and
                 (self.stem == 'patch' or self.image_size % self.patch_size == 0),
                 f'image_size {self.image_size} is not a multiple of patch_size '
                 f'{self.patch_size}')
        _require(self.stem != 'conv' or self.patch_size in (16, 32),
                 f'a conv stem makes patches of 16 or 32 px, got patch_size {self.patch_size}')
        _require(self.stem != 'conv' or self.embed_dim % 32 == 0,
                 f'a conv stem needs embed_dim in multiples of 32, got {self.embed_dim}')
        _require(len(self.blocks) in (0, self.used_blocks),
                 f'blocks describes {len(self.blocks)} blocks, {self.used_blocks} are used')

    @property
    def num_patches(self) -> int:
        """Return the number of patch tokens."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def used_blocks(self) -> int:
        """Return how many blocks run: those up to the feature layer."""
        return self.depth - 1

    def block_widths(self, index: int) -> 'LayerWidths':
        """Return the widths of one used block."""
        return (self.blocks[index] if self.blocks
                else LayerWidths(self.num_heads, self.mlp_hidden))


@dataclass(frozen=True)
class LayerWidths:
    """What is left of one layer or block; pruning changes these and nothing else."""

    num_heads: int
    intermediate_size: int
    bias: bool = False
    """o_proj and down_proj carry a bias: what FLAP puts in the place of the removed inputs."""

    def __post_init__(self) -> None:
        _require(self.num_heads >= 1 and self.intermediate_size >= 1,
                 f'a decoder layer keeps at least one head and one channel, got {self}')


@dataclass(frozen=True)
class DecoderConfig:
    """A LLaMA-style decoder whose layers may differ in width."""

    vocab_size: int
    hidden_size: int
    head_dim: int
    layers: tuple[LayerWidths, ...]
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_length: int = 2048

    def __post_init__(self) -> None:
        _require(len(self.layers) >= 1, 'a decoder has at least one layer')
        _require(self.head_dim % 2 == 0, f'head_dim must be even, got {self.head_dim}')


@dataclass(frozen=True)
class ActionConfig:
    """How actions become tokens (Octo and RT-2's way, OpenVLA's numbers)."""

    vocab_end: int
    """One past the highest action id: 32000 at 7B. Ids count down from there."""
    prefix_token_id: int
    """The token between prompt and actions: 29871, a lone space, at 7B."""
    bins: int = 256
    dim: int = 7
    horizon: int = 1
    """Actions in one answer."""

    def __post_init__(self) -> None:
        _require(2 <= self.bins <= self.vocab_end,
                 f'{self.bins} action bins do not fit below vocab_end {self.vocab_end}')
        _require(self.dim >= 1 and self.horizon >= 1,
                 f'dim and horizon are at least 1, got {self.dim} and {self.horizon}')

    @property
    def lowest_id(self) -> int:
        """Return the lowest action id; `bins` ids follow one another up to `vocab_end`."""
        return self.vocab_end - self.bins


@dataclass(frozen=True)
class ImageConfig:
    """What happens to a camera image before it is normalised; images.prepare() does it."""

    resize_strategy: str = 'resize-naive'
    """`resize-naive` squeezes, `letterbox` pads to a square first, `resize-crop` cuts one out."""
    center_crop: bool = False
    """Keep the middle 90 % of the area: for models trained with OpenVLA's random crop."""
    jpeg: bool = False
    """Encode and decode as JPEG first, as the images of BridgeData were."""
    lanczos: bool = False
    """Resize with Lanczos, as BridgeData and LIBERO were, instead of the strategy's bicubic."""

    def __post_init__(self) -> None:
        _require(self.resize_strategy in RESIZE_STRATEGIES,
                 f'image resize strategy {self.resize_strategy!r} is not known; there are: '
                 f'{", ".join(RESIZE_STRATEGIES)}')
        for name in ('center_crop', 'jpeg', 'lanczos'):
            _require(isinstance(getattr(self, name), bool),
                     f'{name} is true or false, got {getattr(self, name)!r}')
        _require(not self.lanczos or self.resize_strategy == 'resize-naive',
                 f'lanczos squeezes, so it needs resize_strategy resize-naive, got '
                 f'{self.resize_strategy!r}')


@dataclass(frozen=True)
class ParallelConfig:
    """
    OpenVLA-OFT (arXiv 2502.19645): a chunk in one pass, each token seeing every other.

    Without it a policy decodes token after token, as OpenVLA does.
    """

    head: str
    """`l1` regresses the actions, `discrete` takes each token's most likely id."""
    cameras: tuple[str, ...] = (MAIN_CAMERA,)
    """In the order of training; the first is `image`, others are Observation.extra_images."""
    proprio_dim: int = 0
    """Numbers of robot state that the policy reads; 0 for none."""
    proprio_layout: str = ''
    """What those numbers are, one of PROPRIO_LAYOUTS; empty where it is not known."""
    normalisation: str = 'bounds_q99'
    """Statistics that scale actions and proprio: `bounds_q99` or `bounds`, least and greatest."""

    def __post_init__(self) -> None:
        _require(self.head in PARALLEL_HEADS,
                 f'parallel head {self.head!r} is not built; there are: '
                 f'{", ".join(PARALLEL_HEADS)}')
        _require(all(isinstance(name, str) and name for name in self.cameras)
                 and self.cameras[:1] == (MAIN_CAMERA,)
                 and len(set(self.cameras)) == len(self.cameras),
                 f'cameras are different names, the first of them {MAIN_CAMERA!r}, got '
                 f'{self.cameras}')
        _require(type(self.proprio_dim) is int and self.proprio_dim >= 0,
                 f'proprio_dim is a whole number, 0 for none, got {self.proprio_dim!r}')
        _require(self.normalisation in NORMALISATIONS,
                 f'normalisation {self.normalisation!r} is not known; there are: '
                 f'{", ".join(NORMALISATIONS)}')
        layouts = [name for name, dim in PROPRIO_LAYOUTS.items() if dim == self.proprio_dim]
        _require(self.proprio_layout in ('', *layouts),
                 f'proprio_layout {self.proprio_layout!r} is none of {self.proprio_dim} numbers; '
                 f'there are: {", ".join(layouts) or "none of that length"}')

    @property
    def is_one_picture_to_tokens(self) -> bool:
        """Whether it reads and answers what an OpenVLA does: one picture, action tokens."""
        return self.head == 'discrete' and len(self.cameras) == 1 and not self.proprio_dim


@dataclass(frozen=True)
class QuantizationConfig:
    """How the weights of a quantised checkpoint are stored; quantized.py builds it."""

    decoder: str = 'int4'
    """Scheme of the decoder's layers: `bf16` leaves a part as it is."""
    head: str = 'bf16'
    vision: str = 'bf16'
    projector: str = 'bf16'
    group_size: int = 128
    """Weights of a row that share an int4 scale."""
    action_head: bool = True
    """The head has the rows of the action ids alone, lowest id first."""
    host_embeddings: bool = True
    """The embedding table stays in host memory."""
    prefill: str = 'packed'
    """`bf16` keeps the decoder's weights in bf16 too, for the many rows of a prefill; `packed`
    has one copy."""
    stem: bool = False
    """The towers' larger convolutions are stored in the vision's scheme as well."""
    embeddings: str = 'bf16'
    """Scheme of the embedding table: `int8` has one scale a row, on the host alone."""

    def __post_init__(self) -> None:
        for part in QUANTIZED_PARTS:
            _require(getattr(self, part) in SCHEMES,
                     f'scheme {getattr(self, part)!r} of the {part} is not known; there are: '
                     f'{", ".join(SCHEMES)}')
        _require(self.group_size in GROUP_SIZES,
                 f'group_size {self.group_size} has no int4 kernel; there are: '
                 f'{", ".join(map(str, GROUP_SIZES))}')
        _require(self.prefill in PREFILLS, f'prefill {self.prefill!r} is not known; there are: '
                 f'{", ".join(PREFILLS)}')
        for name in ('action_head', 'host_embeddings', 'stem'):
            _require(isinstance(getattr(self, name), bool),
                     f'{name} is true or false, got {getattr(self, name)!r}')
        _require(self.embeddings in TABLE_SCHEMES,
                 f'embeddings {self.embeddings!r} is no scheme of the table; there are: '
                 f'{", ".join(TABLE_SCHEMES)}')
        _require(self.embeddings == 'bf16' or self.host_embeddings,
                 f'embeddings {self.embeddings} are looked up on the host: host_embeddings must '
                 'be true')
        _require(not self.stem or self.vision != 'bf16',
                 "stem stores convolutions in the vision's scheme, which is bf16; give vision "
                 f'one of {", ".join(scheme for scheme in SCHEMES if scheme != "bf16")}')


@dataclass(frozen=True)
class VlaConfig:
    """A whole vision-language-action model."""

    towers: tuple[TowerConfig, ...]
    decoder: DecoderConfig
    action: ActionConfig
    bos_token_id: int = 1
    eos_token_id: int = 2
    pad_token_id: int = 32000
    prompt: str = OPENVLA_PROMPT
    control_hz: float = 5.0
    instructions: tuple[str, ...] = ()
    """Examples of what the policy was trained on, for people to try."""
    image: ImageConfig = ImageConfig()
    projector_layers: int = 3
    """3 behind two towers (fused-gelu-mlp), 2 behind one (gelu-mlp)."""
    parallel: ParallelConfig | None = None
    """Set for OpenVLA-OFT's way of decoding."""
    quantization: QuantizationConfig | None = None
    """How the weights are stored, where they are quantised."""

    def __post_init__(self) -> None:
        _require(1 <= len(self.towers) <= 2, f'one or two towers, got {len(self.towers)}')
        _require(len({tower.num_patches for tower in self.towers}) == 1,
                 'the towers must make the same number of patches, got '
                 f'{[tower.num_patches for tower in self.towers]}')
        _require(len({tower.image_size for tower in self.towers}) == 1,
                 'the towers must take the same image size, got '
                 f'{[tower.image_size for tower in self.towers]}')
        _require(self.action.vocab_end <= self.decoder.vocab_size,
                 f'vocabulary of {self.decoder.vocab_size} is too small for the action ids, '
                 f'which end at {self.action.vocab_end}')
        _require(0 <= self.action.prefix_token_id < self.decoder.vocab_size,
                 f'vocabulary of {self.decoder.vocab_size} is too small for prefix_token_id '
                 f'{self.action.prefix_token_id}')
        _require(self.projector_layers in (2, 3),
                 f'a projector has 2 or 3 layers, got {self.projector_layers}')
        _require('{instruction}' in self.prompt,
                 f'prompt must hold {{instruction}}, got {self.prompt!r}')
        _require(not (self.parallel and self.parallel.head == 'discrete' and self.quantization
                      and self.quantization.action_head),
                 'the discrete head of an OpenVLA-OFT chooses from the whole vocabulary, so its '
                 'rows cannot be cut; quantize it with --no-action-head')
        _require(math.isfinite(self.control_hz) and 0 < self.control_hz <= 100,
                 f'control_hz must be between 0 and 100, got {self.control_hz}')

    @property
    def image_size(self) -> int:
        """Return height and width of the model's image in pixels."""
        return self.towers[0].image_size

    @property
    def num_patches(self) -> int:
        """Return the number of tokens that one image becomes."""
        return self.towers[0].num_patches

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the names of the cameras that the policy reads, in order."""
        return self.parallel.cameras if self.parallel else (MAIN_CAMERA,)

    @property
    def proprio_dim(self) -> int:
        """Return how many numbers of robot state the policy reads; 0 for none."""
        return self.parallel.proprio_dim if self.parallel else 0

    @property
    def context_tokens(self) -> int:
        """Return how many tokens of images and robot state stand behind the first token."""
        return self.num_patches * len(self.cameras) + bool(self.proprio_dim)

    @property
    def vision_dim(self) -> int:
        """Return the width of the towers' features side by side."""
        return sum(tower.embed_dim for tower in self.towers)

    @property
    def action_tokens(self) -> int:
        """Return how many tokens one answer takes."""
        return self.action.dim * self.action.horizon

    def to_json(self) -> dict:
        """Return what config.json holds."""
        document = {'model_type': MODEL_TYPE, 'format_version': 1, **asdict(self)}
        if self.quantization is None:  # as before there was such a thing
            del document['quantization']
        return document

    @classmethod
    def from_json(cls, document: dict) -> 'VlaConfig':
        """
        Read config.json's content.

        :raises ConfigError: another model_type, a missing or unknown field, a value out of bounds
        """
        fields = dict(document)
        kind = fields.pop('model_type', None)
        if kind != MODEL_TYPE:
            raise ConfigError(
                f'model_type {kind!r} is not one that this version opens ({MODEL_TYPE!r}, and '
                "'openvla' as transformers saves it; a folder of the Prismatic trainer is turned "
                "into that by OpenVLA's convert_openvla_weights_to_hf.py)")
        version = fields.pop('format_version', None)
        if version != 1:
            raise ConfigError(f'format_version {version!r} is newer than this version (1); '
                              'upgrade rlrc_ros')
        try:
            fields['towers'] = tuple(
                TowerConfig(**{**tower, 'mean': tuple(tower['mean']), 'std': tuple(tower['std']),
                               'blocks': tuple(LayerWidths(**block)
                                               for block in tower.get('blocks', ()))})
                for tower in fields['towers'])
            decoder = dict(fields['decoder'])
            decoder['layers'] = tuple(LayerWidths(**layer) for layer in decoder['layers'])
            fields['decoder'] = DecoderConfig(**decoder)
            fields['action'] = ActionConfig(**fields['action'])
            fields['image'] = ImageConfig(**fields.get('image', {}))
            fields['instructions'] = tuple(fields.get('instructions', ()))
            if fields.get('parallel') is not None:
                parallel = dict(fields['parallel'])
                fields['parallel'] = ParallelConfig(
                    **{**parallel, 'cameras': tuple(parallel.get('cameras', (MAIN_CAMERA,)))})
            if fields.get('quantization') is not None:
                fields['quantization'] = QuantizationConfig(**fields['quantization'])
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ConfigError(f'config.json does not describe a model: {error}') from error
