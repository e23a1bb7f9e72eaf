"""The recipe of `host train` as one would write it in PyTorch, for `scripts/bench train`.

Generous to PyTorch: no DataLoader, the normalised images lie in one tensor and a batch is one
index_select, so that what is compared is the training step, not Python's data loading.
Prints one JSON object: seconds of each epoch, without start-up and data reading.
"""

import argparse
import json
import pathlib
import time

import numpy
import torch
from torch import nn
from torch.nn import functional


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x):
        x = functional.relu(functional.max_pool2d(functional.dropout(self.conv1(x), 0.5), 2))
        x = functional.relu(functional.max_pool2d(functional.dropout(self.conv2(x), 0.5), 2))
        x = x.view(-1, 320)
        x = functional.dropout(functional.relu(self.fc1(x)), 0.5)
        return functional.log_softmax(self.fc2(x), dim=1)


def read(folder, prefix):
    images = numpy.fromfile(folder / f"{prefix}-images-idx3-ubyte", numpy.uint8)[16:]
    labels = numpy.fromfile(folder / f"{prefix}-labels-idx1-ubyte", numpy.uint8)[8:]
    images = torch.from_numpy(images.reshape(-1, 1, 28, 28)).float().div_(255)
    return images.sub_(0.1307).div_(0.3081), torch.from_numpy(labels.astype(numpy.int64))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="folder of MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--log-interval", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    images, labels = read(arguments.folder, "train")
    model = LeNet()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=10, gamma=0.1)
    seconds = []
    for _ in range(arguments.epochs):
        start = time.perf_counter()
        for step, batch in enumerate(torch.randperm(len(images)).split(64)):
            optimiser.zero_grad()
            loss = functional.nll_loss(model(images[batch]), labels[batch])
            loss.backward()
            optimiser.step()
            if step % arguments.log_interval == 0:
                loss.item()
        schedule.step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "seconds_per_epoch": seconds,
        "loss": loss.item(),
        "torch": torch.__version__,
    }))


main()
