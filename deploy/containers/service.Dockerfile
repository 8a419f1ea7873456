# A rebalancer, a sweeper, an observer of chains or a scoring observer. deploy/containers/assemble.py puts this file next to rootfs.tar.
FROM scratch
ADD rootfs.tar /
ENV PATH=/opt/quorumkeep/bin:/usr/bin LANG=C.UTF-8 PYTHONUTF8=1 QUORUMKEEP_CLIENT=/etc/quorumkeep/client.json
USER 10001:10001
WORKDIR /var/lib/quorumkeep
# The folder of its identity, where it also keeps what it remembers.
VOLUME /var/lib/quorumkeep
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/quorumkeep/bin/python3", "-I", "-m", "cli.main"]
CMD ["rebalance", "run", "--as", "/var/lib/quorumkeep/identity"]
