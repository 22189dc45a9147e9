#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs, on Debian 12 and as root, everything that the build, all tests and the
# benchmarks need.
# Does nothing, quietly, where everything is there. Xen's services are not started:
# the tests use the packages' files only, and boot hosts of their own.
set -eu

build='build-essential pkg-config libxen-dev libevent-dev libjson-c-dev libyaml-dev
	libsystemd-dev uuid-dev zlib1g-dev'
checks='libcmocka-dev python3 python3-pytest python3-pytest-timeout python3-pytest-xdist
	clang clang-format clang-tidy libclang-rt-14-dev valgrind shellcheck mandoc
	python3-prometheus-client systemd zsh fish'
packages='debhelper fakeroot lintian logrotate man-db'
emulated_host='xen-hypervisor-4.17-amd64 xen-utils-4.17 xenstore-utils qemu-system-x86
	qemu-system-xen qemu-utils qemu-guest-agent busybox-static cpio kmod
	libvirt-daemon libvirt-daemon-driver-xen libvirt-clients'
benchmarks='libvirt-dev libvirt-daemon-driver-qemu'

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for package in $build $checks $packages $emulated_host $benchmarks; do
	installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "install-deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# Where there is an init, it must not start xenstored and friends on a machine that
# is no Xen host. Whoever has a policy already keeps it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086 # one word for each package
apt-get install -qq -y --no-install-recommends $missing >/dev/null
