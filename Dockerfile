# Two ways to an image that holds one static binary and nothing else:
#   docker build -t orpheus .                    compiles it
#   make build && docker build --target local .  takes bin/orpheus as it is; needs no registry
#
# A server runs it with the host's network and engine, and with its state at the same path inside and outside, because the engine
# mounts from there into pods:
#   docker run -d --name orpheus --restart unless-stopped --privileged --network host --pid host \
#     -v /var/run/docker.sock:/var/run/docker.sock -v /run/orpheus:/run/orpheus \
#     -v /var/lib/orpheus:/var/lib/orpheus:rshared -v /etc/ssl/certs:/etc/ssl/certs:ro orpheus

FROM scratch AS local
COPY bin/orpheus /orpheus
ENTRYPOINT ["/orpheus"]
CMD ["up"]

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/bin/orpheus /orpheus
ENTRYPOINT ["/orpheus"]
CMD ["up"]
