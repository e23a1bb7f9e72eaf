#!/bin/sh
# Run as root on the board by `host deploy`, in the folder that it has copied there: installs what lies
# beside it, and starts the service anew where that is needed.
set -e
cd "$(dirname "$0")"
if [ -f mcdropout.deb ]; then
    dpkg --force-confold -i mcdropout.deb
    # For an adapter that is plugged in already.
    udevadm trigger --action=change --subsystem-match=tty || true
fi
if [ -f trust.pub ]; then
    mkdir -p /etc/mcdropout
    install -m 644 trust.pub /etc/mcdropout/trust.pub
fi
if [ -f device.toml ]; then
    # What the program does not understand does not take the place of what it did.
    mcdropout-device run --config device.toml --print-config >/dev/null
    mkdir -p /etc/mcdropout
    install -m 644 device.toml /etc/mcdropout/device.toml
fi
if [ -f model.onnx ]; then
    mkdir -p /var/lib/mcdropout
    trust=
    if [ -f trust.pub ]; then
        trust="--trust trust.pub"
    fi
    # Without a key here, the service that runs checks against its own.
    mcdropout-device swap model.onnx $trust --to /var/lib/mcdropout/model.onnx
fi
if [ ! -f /var/lib/mcdropout/model.onnx ]; then
    echo "not started: there is no model yet"
elif [ -f mcdropout.deb ] || [ -f device.toml ]; then
    systemctl restart mcdropout
else
    # A service that runs takes the new model by itself.
    systemctl start mcdropout
fi
