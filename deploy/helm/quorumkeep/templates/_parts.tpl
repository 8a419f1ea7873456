{{/* Labels of everything of a release; the argument is the root context. */}}
{{- define "quorumkeep.labels" -}}
app.kubernetes.io/name: quorumkeep
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: quorumkeep
{{- end }}

{{/* The kinds of services, each with its command, "KIND run", and its settings, KIND.toml. Told whose log it is: trust. Asks chains: chains. */}}
{{- define "quorumkeep.kinds" -}}
rebalance: {trust: false, chains: false}
risk: {trust: true, chains: false}
observe: {trust: true, chains: true}
sweep: {trust: false, chains: false}
{{- end }}

{{/* An image by digest; a dict of image and what it is called. */}}
{{- define "quorumkeep.image" -}}
{{- printf "%s@%s" .image.repository (required (printf "images.%s.digest is missing: name the image by its sha256 digest" .called) .image.digest) -}}
{{- end }}

{{/* What is the same for every pod, of the "restricted" profile of pod security. */}}
{{- define "quorumkeep.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* No two of one kind on one machine, whoever's release and namespace; and rather not in one zone. */}}
{{- define "quorumkeep.apart" -}}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        namespaceSelector: {}
        labelSelector: {matchLabels: {app.kubernetes.io/part-of: quorumkeep, app.kubernetes.io/component: {{ . }}}}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: topology.kubernetes.io/zone
          namespaceSelector: {}
          labelSelector: {matchLabels: {app.kubernetes.io/part-of: quorumkeep, app.kubernetes.io/component: {{ . }}}}
{{- end }}

{{- define "quorumkeep.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The argument is the data folder. Alive is any answer; ready is what serves. A start may fold a long log. */}}
{{- define "quorumkeep.probes" -}}
startupProbe:
  exec: {command: [/opt/quorumkeep/bin/python3, -I, -m, signer_nodes.api.health, --alive, {{ . }}]}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  exec: {command: [/opt/quorumkeep/bin/python3, -I, -m, signer_nodes.api.health, --alive, {{ . }}]}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  exec: {command: [/opt/quorumkeep/bin/python3, -I, -m, signer_nodes.api.health, {{ . }}]}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}

{{- define "quorumkeep.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: data}
  spec:
    accessModes: [ReadWriteOncePod]
    {{- with .class }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .size }}}}
{{- end }}
