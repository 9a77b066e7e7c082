#!/usr/bin/env bash
# Build images with buildah or docker: images/build.sh [pipeline] [generation] [training] [generation-cpu] [training-cpu]
# Without a name, the three of a cluster with GPUs.
#
#   BASE_IMAGE   Python 3.11 on Debian, by digest (or localhost/..., for a base of your own)
#   PREFIX       of the images' names; default selfemo
#   VERSION      tag; default: the package's version
#   BUILD_FLAGS  more flags for the builder, such as --secret id=ca,src=FILE
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- pipeline generation training
: "${PREFIX:=selfemo}" "${BUILD_FLAGS:=}"
: "${VERSION:=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/selfemo/__init__.py)}"
case "${BASE_IMAGE:-}" in
  *@sha256:* | localhost/*) ;;
  *)
    echo "images/build.sh: BASE_IMAGE=${BASE_IMAGE:-} is not named by digest" >&2
    echo "  fix: BASE_IMAGE=python:3.11-slim-bookworm@sha256:..., as your registry gives it" >&2
    exit 2
    ;;
esac
if command -v buildah >/dev/null; then
  # chroot isolation needs no privileges of its own, so it works inside containers too.
  builder=(buildah bud --layers --isolation chroot --ulimit nofile=20000:20000 --ulimit nproc=32768:32768)
elif command -v docker >/dev/null && docker version >/dev/null 2>&1; then
  builder=(docker build)
else
  echo "images/build.sh: neither buildah nor docker is here" >&2
  echo "  fix: install one of them" >&2
  exit 2
fi
revision=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
for image in "$@"; do
  name=${image%-cpu}
  tag="$PREFIX/$name-python" lock=requirements.txt packages="git openssh-client" model=
  if [ "$name" != pipeline ]; then
    packages="gcc libc6-dev" # Triton compiles kernels as they are needed
  fi
  if [ "$image" != "$name" ]; then
    tag="$tag-cpu" lock=requirements-cpu.txt packages='' model=demo-model.txt
  fi
  arguments=(
    --build-arg "BASE_IMAGE=$BASE_IMAGE" --build-arg "LOCK=$name/$lock" --build-arg "MODEL=$model"
    --build-arg "PACKAGES=$packages" --build-arg "VERSION=$VERSION" --build-arg "REVISION=$revision"
  )
  echo "$tag:$VERSION"
  # shellcheck disable=SC2086  # flags are words
  "${builder[@]}" $BUILD_FLAGS "${arguments[@]}" --file images/Dockerfile --target "$name" --tag "$tag:$VERSION" .
done
