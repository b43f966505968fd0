"""What a network needs to know of a model card, as a Protocol (networks never import the store)."""

from __future__ import annotations

from typing import Protocol

Index = tuple[int, int, int]


class Spec(Protocol):
    """The fields of `flare_core.models.card.NetworkSpec` that shape a U-Net."""

    @property
    def kind(self) -> str:
        """Key in NETWORKS."""

    @property
    def input_channels(self) -> int:
        """Channels of the image."""

    @property
    def output_channels(self) -> int:
        """Classes, background included."""

    @property
    def features_per_stage(self) -> tuple[int, ...]:
        """Channels, full resolution first."""

    @property
    def strides(self) -> tuple[Index, ...]:
        """Stride (z, y, x) at the entry of every stage."""

    @property
    def kernel_sizes(self) -> tuple[Index, ...]:
        """Kernel (z, y, x) of every stage."""

    @property
    def convolutions_per_stage_encoder(self) -> tuple[int, ...]:
        """Convolutions (plain) or residual blocks of every encoder stage."""

    @property
    def convolutions_per_stage_decoder(self) -> tuple[int, ...]:
        """Convolutions of every decoder stage, coarsest first."""

    @property
    def conv_bias(self) -> bool:
        """Whether convolutions have a bias."""

    @property
    def norm_epsilon(self) -> float:
        """Added to the variance by instance normalisation."""

    @property
    def negative_slope(self) -> float:
        """Slope of the leaky ReLU below zero."""

    @property
    def space_to_depth(self) -> Index:
        """Block (z, y, x) folded into channels before the network."""

    @property
    def decoder_kernel_sizes(self) -> tuple[Index, ...]:
        """Kernel of every decoder stage, coarsest first; empty: the encoder's."""

    @property
    def deep_supervision(self) -> bool:
        """Whether coarser decoder stages give logits too while training."""
