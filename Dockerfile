# FLARESeg as a FLARE challenge container, for a CPU: no GPU, no network and no settings at run time.
#
#   docker build -t flareseg .
#   docker save flareseg | gzip > flareseg.tar.gz
#   docker container run -m 8G --name flareseg --rm -v $PWD/inputs/:/workspace/inputs/ \
#       -v $PWD/outputs/:/workspace/outputs/ flareseg:latest /bin/bash -c "sh predict.sh"
#
# Holds what segmentation needs and no more: without pillow, scikit-image and requests there are no
# pictures, no pages and no downloads in here. For research use; not a medical device.

FROM python:3.12-slim-bookworm AS build
ARG TORCH=2.13.0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/flare
ENV PATH=/opt/flare/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# PyTorch first: the large layer is built again only when its version changes. Of what it names as
# its own dependencies, a network that runs needs typing_extensions alone.
RUN pip install --no-deps --index-url https://download.pytorch.org/whl/cpu "torch==${TORCH}"
COPY constraints.txt ./
RUN pip install -c constraints.txt numpy scipy SimpleITK safetensors typing_extensions
COPY pyproject.toml README.md LICENSE ./
COPY flare_core ./flare_core
RUN pip install --no-deps .
# Headers, tests, tools and symbols go (300 MB); the byte code stays, as it saves seconds a start.
WORKDIR /opt/flare/lib/python3.12/site-packages
RUN rm -rf torch/include torch/test torch/share torch/lib/*.a \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find scipy -type d -name tests -prune -exec rm -rf {} + \
    && strip --strip-unneeded torch/lib/libtorch_cpu.so \
    && pip uninstall -y pip \
    && python -c "import flare_core.segment.cascade, flare_core.imaging.files, flare_core.cli"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/flare /opt/flare
ENV PATH=/opt/flare/bin:$PATH
WORKDIR /workspace
COPY predict.sh ./
RUN mkdir inputs outputs
CMD ["sh", "predict.sh"]
