"""ResNet: published sizes and names, and how weights are found, fitted and refused."""

from __future__ import annotations

import urllib.error

import pytest
import torch

from memx.encoders import ResNet, no_pretrained
from memx.encoders.pretrained import adapt_stem
from memx.errors import CheckpointError


@pytest.mark.parametrize(
    ("depth", "parameters"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)]
)
def test_published_networks_have_their_published_size(depth, parameters):
    """torchvision's counts, less the classifier's."""
    with torch.device("meta"):
        model = ResNet(3, depth=depth, stride=32)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (50, 4)])
@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_maps_have_the_declared_channels_and_strides(depth, expansion, stride, norm):
    model = ResNet(2, depth=depth, stride=stride, width=4, norm=norm).eval()
    assert model.strides == tuple(s for s in (32, 16, 8, 4) if s <= stride)
    assert model.channels == tuple(4 * expansion * s // 4 for s in model.strides)
    maps = model(torch.rand(2, 2, 64, 96))
    assert [x.shape for x in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(model.channels, model.strides, strict=True)
    ]


def test_names_are_torchvisions():
    names = set(ResNet(3, depth=50, width=4).state_dict())
    expected = {"conv1.weight", "bn1.running_mean", "layer1.0.conv3.weight", "layer1.0.bn3.num_batches_tracked"}
    expected |= {"layer1.0.downsample.0.weight", "layer1.0.downsample.1.running_var", "layer3.5.bn2.bias"}
    assert expected <= names
    assert not any(name.startswith(("layer4", "fc")) for name in names)


@pytest.fixture
def rgb_file(tmp_path):
    """A whole ResNet-18 over RGB as torchvision would save it, with classifier and layer4."""
    model = ResNet(3, depth=18, stride=32, width=4).eval()
    for name, x in model.state_dict().items():
        if "running" in name:
            x.uniform_(0.5, 1.5)
    tensors = {**model.state_dict(), "fc.weight": torch.rand(10, 32), "fc.bias": torch.rand(10)}
    torch.save(tensors, tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth", model


def test_grey_pictures_give_what_they_give_as_rgb(rgb_file):
    path, rgb = rgb_file
    grey = ResNet(1, depth=18, width=4, weights=str(path)).eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        for a, b in zip(grey(x), rgb(x.expand(-1, 3, -1, -1))[1:], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_channels_after_the_picture_keep_their_own_filters(rgb_file):
    path, rgb = rgb_file
    torch.manual_seed(0)
    fresh = ResNet(3, 1, depth=18, width=4)
    torch.manual_seed(0)
    loaded = ResNet(3, 1, depth=18, width=4, weights=str(path))
    torch.testing.assert_close(loaded.conv1.weight[:, 1:], fresh.conv1.weight[:, 1:])
    torch.testing.assert_close(loaded.conv1.weight[:, 0], rgb.conv1.weight.sum(1))
    torch.testing.assert_close(loaded.bn1.running_var, rgb.bn1.running_var)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_adapted_stem_sees_a_constant_picture_alike(channels):
    weight, own = torch.rand(4, 3, 7, 7), torch.zeros(4, channels, 7, 7)
    torch.testing.assert_close(adapt_stem(weight, own, channels).sum(1), weight.sum(1))


def test_frozen_norm_equals_batch_norm_in_evaluation_and_stays(rgb_file):
    path, _ = rgb_file
    batch = ResNet(1, depth=18, width=4, weights=str(path)).eval()
    frozen = ResNet(1, depth=18, width=4, norm="frozen", weights=str(path)).train()
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(frozen(x)[0], batch(x)[0], atol=1e-5, rtol=1e-5)
    assert all("conv" in name or "downsample.0" in name for name, _ in frozen.named_parameters())


def test_group_norm_does_not_look_at_the_batch():
    model = ResNet(1, depth=18, width=4, norm="group").train()
    x = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(model(x)[0][:1], model(x[:1])[0], atol=1e-5, rtol=1e-5)


def test_weights_that_do_not_fit_are_named(rgb_file, tmp_path):
    path, rgb = rgb_file
    with pytest.raises(CheckpointError, match=r"do not fit this ResNet-50:\n  missing: layer1.0.conv3.weight"):
        ResNet(1, depth=50, width=4, weights=str(path))
    with pytest.raises(
        CheckpointError, match=r"of another shape: conv1.weight is \[4, 3, 7, 7\], the encoder's \[8, 3, 7, 7\], bn1"
    ):
        ResNet(3, depth=18, width=8, weights=str(path))
    torch.save({**rgb.state_dict(), "head.weight": torch.rand(2)}, tmp_path / "more.pth")
    with pytest.raises(CheckpointError, match=r"not in the encoder: head.weight"):
        ResNet(3, depth=18, width=4, weights=str(tmp_path / "more.pth"))


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere.pth: no such file"):
        ResNet(3, weights=str(tmp_path / "nowhere.pth"))
    for name, content in {"text.pth": b"not weights", "text.safetensors": b"not weights"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name} cannot be read as a state dict of tensors"):
            ResNet(3, weights=str(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"list.pth hold no plain state dict"):
        ResNet(3, weights=str(tmp_path / "list.pth"))


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil.pth cannot be read"):
        ResNet(3, weights=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "owned").exists()


def test_imagenet_weights_come_from_the_named_folder(tmp_path, monkeypatch):
    whole = ResNet(3, depth=18, stride=32)
    torch.save(whole.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    monkeypatch.setenv("MEMX_WEIGHTS", str(tmp_path))
    loaded = ResNet(3, depth=18, weights="imagenet")
    torch.testing.assert_close(loaded.layer3[1].conv2.weight, whole.layer3[1].conv2.weight)


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.delenv("MEMX_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(CheckpointError) as error:
        ResNet(1, depth=50, weights="imagenet")
    for part in ("no route to host", "Put resnet50-0676ba61.pth", "MEMX_WEIGHTS", str(tmp_path), "`weights: null`"):
        assert part in str(error.value)


def test_a_checkpoint_to_come_needs_no_pretrained_weights():
    with no_pretrained():
        ResNet(1, depth=18, width=4, weights="nowhere.pth")
    with pytest.raises(CheckpointError):
        ResNet(1, depth=18, width=4, weights="nowhere.pth")
