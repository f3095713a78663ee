# syntax=docker/dockerfile:1
#
#   docker build -t linchpin .                          for CPUs
#   docker build -t linchpin:cuda --build-arg DEVICE=cuda .   for NVIDIA GPUs (and CPUs); driver series 580 or later
#
#   docker run -p 127.0.0.1:8080:8080 -e LINCHPIN_API_KEY=... -v linchpin-data:/data -v /path/to/models:/models:ro \
#     linchpin serve --model /models/SmolLM2-135M-Instruct.Q4_1.gguf
#
# A container listens on all of its addresses, for which the server wants a key.

ARG DEVICE=cpu

FROM rust:1.95-bookworm AS source
WORKDIR /build
ENV CARGO_TARGET_DIR=/target
COPY . .

FROM source AS build-cpu
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target,id=target-cpu \
    cargo build --release --locked \
    && install -D /target/release/linchpin /out/linchpin

# The CUDA compiler comes from the project's own recipe, which needs no base image of NVIDIA's.
FROM source AS build-cuda
ARG CUDA_COMPUTE_CAP=90
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target,id=target-cuda \
    settings=$(CUDA_COMPUTE_CAP=$CUDA_COMPUTE_CAP tests/cuda-toolchain /cuda) \
    && eval "$settings" \
    && cargo --config .cargo/cuda.toml build --release --locked --features cuda \
    && install -D /target/x86_64-unknown-linux-gnu/release/linchpin /out/linchpin

FROM debian:bookworm-slim AS runtime-cpu
COPY --from=build-cpu /out/linchpin /usr/local/bin/linchpin

# Brings cuBLAS, cuRAND and NVRTC; the driver comes from the host.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS runtime-cuda
COPY --from=build-cuda /out/linchpin /usr/local/bin/linchpin

FROM runtime-${DEVICE} AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin linchpin \
    && install -d -o linchpin -g linchpin /data
USER 10001
WORKDIR /data
VOLUME /data
ENV LINCHPIN_LISTEN=0.0.0.0:8080 LINCHPIN_DATA_DIR=/data HF_HOME=/data/huggingface
EXPOSE 8080
# bash speaks HTTP well enough to ask whether the process answers, so that the image needs no client.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["linchpin"]
CMD ["serve"]
