# One node or witness with its SoftHSM. deploy/containers/assemble.py puts this file next to rootfs.tar.
FROM scratch
ADD rootfs.tar /
ENV PATH=/opt/quorumkeep/bin:/usr/bin LANG=C.UTF-8 PYTHONUTF8=1
USER 10001:10001
WORKDIR /var/lib/quorumkeep
# The token, the node's database and its configuration: without a volume here they die with the container.
VOLUME /var/lib/quorumkeep
EXPOSE 7700
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/quorumkeep/bin/python3", "-I", "-m", "signer_nodes.api.health", "/var/lib/quorumkeep"]
ENTRYPOINT ["/opt/quorumkeep/bin/python3", "-I", "-m", "signer_nodes.main"]
CMD ["run", "--config", "/var/lib/quorumkeep/config.toml"]
