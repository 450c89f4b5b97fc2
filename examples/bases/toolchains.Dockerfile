# What the official images of these names have, from the toolchains of this machine.
FROM debian:bookworm-slim AS golang
COPY --from=toolchain --exclude=api --exclude=doc --exclude=test . /usr/local/go
ENV GOPATH=/go GOTOOLCHAIN=local PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /go

FROM debian:bookworm-slim AS rust
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY --from=toolchain --parents bin/cargo bin/rustc lib /usr/local/

FROM debian:bookworm-slim AS node
COPY --from=toolchain node /usr/local/bin/
COPY --from=modules npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && \
    ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
CMD ["node"]
