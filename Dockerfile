# hubspot-connect as an image: docker build -t hubspot-connect . && docker run --env-file .env -p 127.0.0.1:6001:6001
# hubspot-connect
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
# `release` is the build to run; `dev` builds in a fraction of the time, for trying the image itself.
ARG PROFILE=release
WORKDIR /source
COPY . .
# The caches outlive the build and are not part of the image, so the program is copied out within the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    case "$PROFILE" in dev) folder=debug ;; *) folder="$PROFILE" ;; esac \
    && cargo build --profile "$PROFILE" --locked --bin hubspot-connect \
    && cp "target/$folder/hubspot-connect" /hubspot-connect

FROM ${RUNTIME_IMAGE}
# HubSpot's certificate is checked against the root certificates. /data is writable for the user below and for any user
# of group 0, as OpenShift runs images; all other users may start there, which takes a folder that can be entered.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 0 -m 0771 /data
COPY --from=build --chmod=0755 /hubspot-connect /usr/local/bin/hubspot-connect
LABEL org.opencontainers.image.title="hubspot-connect" \
      org.opencontainers.image.description="A Connect to HubSpot button for any web application" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
ENV PORT=6001 \
    DATABASE_URL=sqlite:///data/hubspot-connect.db?mode=rwc
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 6001
# The program handles signals itself, also as the first process: no init is needed. Give it 45 seconds to finish its
# refreshes.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["hubspot-connect", "healthcheck"]
ENTRYPOINT ["hubspot-connect"]
CMD ["serve"]
