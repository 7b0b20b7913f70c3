#!/usr/bin/env bash
# Installs what the build takes from the system; with --static also what build.sh --static-swift-stdlib takes, with
# --python what the quick start takes, with --test what the tests take. Does nothing where all is there.
#   install-dependencies.sh [--static | --python | --test]
set -euo pipefail
if ! command -v swift >/dev/null; then
  echo "install-dependencies: no swift in PATH; install Swift 6.3 or newer from https://www.swift.org/install" >&2
  exit 1
fi
packages=(libopenblas-dev libsqlite3-dev libssl-dev pkg-config unzip)
case ${1:-} in
  # The static FoundationNetworking leaves libcurl to the linker.
  --static) packages+=(libcurl4-openssl-dev) ;;
  --python) packages+=(python3 python3-pip) ;;
  --test) packages+=(python3 python3-pip python3-venv libcurl4-openssl-dev nginx-light openssl curl procps) ;;
  "") ;;
  *) echo "install-dependencies: unknown option $1" >&2; exit 2 ;;
esac
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
# Any build of nginx will do, and any Python that has pip.
is_there() {
  case $1 in
    nginx-light) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] ;;
    python3 | python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
    *) false ;;
  esac
}
kept=()
for package in "${missing[@]}"; do is_there "$package" || kept+=("$package"); done
missing=("${kept[@]}")
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "install-dependencies: neither root nor sudo; missing: ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null
  # The package starts a server; the tests start their own.
  if [[ " ${missing[*]} " == *" nginx-light "* && -d /run/systemd/system ]]; then
    "${as_root[@]}" systemctl disable --now nginx >/dev/null 2>&1 || true
  fi
fi
