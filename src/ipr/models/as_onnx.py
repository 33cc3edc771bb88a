"""A plain network as an ONNX file that another framework can run, and whose weights keep their names."""

from __future__ import annotations

import torch
from torch import nn

from ipr.models.inspection import evaluating

INPUT, OUTPUT = "input", "logits"
"""What the file calls them."""

OPSET = 21
"""The first version of ONNX's operators in which a group norm is one of them."""


def onnx_bytes(network: nn.Module, channels_in: int, image_size: int) -> bytes:
    """The network in evaluation mode as ONNX: `input` (B, channels_in, H, W), float32, to `logits` (B, K), for any B.

    No operator is fused and no weight changed: each is an initialiser under its name in the `state_dict` (but what an
    evaluation does not read, the `num_batches_tracked` of batch norms). Names of files on this machine, which torch
    leaves in comments, are taken out.

    Args:
        network: a plain network on the CPU; left as it was.
        channels_in: channels of an image.
        image_size: its height and width, in pixels.
    """
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules.common import remove_optional_bias_from_conv_rule

    weights = {*network.state_dict()}
    example = torch.zeros(2, channels_in, image_size, image_size)  # of one image, torch would fix the batch to 1
    with evaluating(network):
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            optimize=False,  # it would fold batch norms into convolutions
            verbose=False,
        )
    assert program is not None
    for _ in range(2):  # what remains of torch's own translation, but nothing that reads a weight
        optimizer.inline(program.model)
        optimizer.fold_constants(
            program.model,
            onnx_shape_inference=True,
            should_fold=lambda node: False if any(i is not None and i.name in weights for i in node.inputs) else None,
        )
        rewriter.rewrite(program.model, [remove_optional_bias_from_conv_rule])
        optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    del model.graph.value_info[:]
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    content: bytes = model.SerializeToString(deterministic=True)
    return content
