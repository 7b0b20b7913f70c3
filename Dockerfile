# One binary on a plain Debian: built by the same script as everywhere else. Deploy/scripts/check-deploy.py reads this
# file and does each of its steps without a container engine, so that none of them is untested.
FROM swift:6.3-bookworm AS build
WORKDIR /src
# First, so that a change of the sources does not install them again.
COPY Deploy/scripts/install-dependencies.sh Deploy/scripts/
RUN Deploy/scripts/install-dependencies.sh --static
COPY . .
RUN Deploy/scripts/build.sh --static-swift-stdlib /opt/corad
RUN mkdir /var/lib/corad

FROM debian:bookworm-slim
RUN apt-get -qq update \
 && apt-get -qq -y install --no-install-recommends ca-certificates libcurl4 libopenblas0-pthread \
    libsqlite3-0 libssl3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/corad /opt/corad
COPY Deploy/config/corad.json /etc/corad/corad.json
# An empty folder owned by the user, so that a new volume is too.
COPY --from=build --chown=10001:10001 /var/lib/corad /var/lib/corad
USER 10001:10001
VOLUME /var/lib/corad
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["/opt/corad/corad", "doctor", "--live", "http://127.0.0.1:8080"]
ENTRYPOINT ["/opt/corad/corad"]
CMD ["serve", "--config", "/etc/corad/corad.json", "--model", "/models/base", "--store", "/var/lib/corad/corad.sqlite", "--listen", "0.0.0.0:8080"]
