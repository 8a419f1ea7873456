# One coordinator. deploy/containers/assemble.py puts this file next to rootfs.tar.
FROM scratch
ADD rootfs.tar /
ENV PATH=/opt/quorumkeep/bin:/usr/bin LANG=C.UTF-8 PYTHONUTF8=1
USER 10001:10001
WORKDIR /var/lib/quorumkeep
# Its database where that is SQLite, its lease and the published log: without a volume they die with the container.
VOLUME /var/lib/quorumkeep
EXPOSE 7600 7601 7690
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/quorumkeep/bin/python3", "-I", "-m", "signer_nodes.api.health", "/var/lib/quorumkeep/data"]
ENTRYPOINT ["/opt/quorumkeep/bin/python3", "-I", "-m", "custody.main"]
CMD ["--config", "/etc/quorumkeep/config.toml"]
