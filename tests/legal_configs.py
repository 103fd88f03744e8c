"""Any small config of a UNet2D that is legal, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from shadow.denoisers import unet2d_config
from shadow.denoisers.unet2d_config import UNet2DConfig


@st.composite
def legal_unets(draw):
    """Any small config that `check` takes."""
    levels = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2, 4]))
    widths = tuple(4 * draw(st.integers(1, 3)) for _ in range(levels))
    time = draw(st.sampled_from(["positional", "learned", "fourier"]))
    classes = draw(st.sampled_from(["", "timestep", "identity", "table"]))

    def some(kinds):
        return tuple(draw(st.sampled_from(kinds)) for _ in range(levels))

    return UNet2DConfig(
        in_channels=draw(st.integers(1, 3)),
        out_channels=draw(st.integers(1, 3)),
        block_out_channels=widths,
        down_block_types=draw(st.sampled_from([(), some(unet2d_config.DOWN_BLOCKS)])),
        mid_block_type=draw(st.sampled_from(["", "UNetMidBlock2D"])),
        up_block_types=draw(st.sampled_from([(), some(unet2d_config.UP_BLOCKS)])),
        layers_per_block=draw(st.integers(1, 2)),
        mid_block_scale_factor=draw(st.sampled_from([1.0, 1.5])),
        downsample_padding=draw(st.integers(0, 1)),
        downsample_type=draw(st.sampled_from(["conv", "resnet"])),
        upsample_type=draw(st.sampled_from(["conv", "resnet"])),
        dropout=draw(st.sampled_from([0.0, 0.25])),
        act_fn=draw(st.sampled_from(unet2d_config.ACTIVATIONS)),
        add_attention=draw(st.booleans()),
        attention_head_dim=draw(st.sampled_from([0, 2, 4])),
        norm_num_groups=groups,
        attn_norm_num_groups=draw(st.sampled_from([0, 2])),
        norm_eps=draw(st.sampled_from([1e-5, 1e-6])),
        resnet_time_scale_shift=draw(st.sampled_from(["default", "scale_shift"])),
        center_input_sample=draw(st.booleans()),
        time_embedding_type=time,
        time_embedding_dim=draw(st.sampled_from([0, 12])),
        freq_shift=draw(st.integers(0, 1)),
        flip_sin_to_cos=draw(st.booleans()),
        num_train_timesteps=1000 if time == "learned" else 0,
        class_embed_type="" if classes == "table" else classes,
        num_class_embeds=3 if classes == "table" else 0,
    )
