"""The recipe that turns labelled comments into a Palisade release.

Reading order: data -> vocabulary -> encoder -> fit -> calibration -> onnx_export -> release.
"""
