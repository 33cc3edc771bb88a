import pytest
import torch

from own import owned


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Pictures of an owner's."""
    return owned.pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def owners(folder):
    """His network, trained; his loaders."""
    torch.manual_seed(3)
    train, test = owned.loaders(folder)
    return owned.train(owned.network(), train, 4), train, test
