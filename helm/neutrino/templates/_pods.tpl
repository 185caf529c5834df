{{/* What all pods have in common. */}}

{{- define "neutrino.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ default 10001 .uid }}
runAsGroup: {{ default 10001 .uid }}
fsGroup: {{ default 10001 .uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "neutrino.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Metadata of a pod: (dict "root" $ "component" … "pool" … "store" true "identity" true). */}}
{{- define "neutrino.podMetadata" -}}
labels:
  {{- include "neutrino.labels" . | nindent 2 }}
  {{- if and .store (include "neutrino.oneNode" .root) }}
  neutrino.dev/store: {{ include "neutrino.fullname" .root }}
  {{- end }}
  {{- if and .identity .root.Values.identity.azure.clientId }}
  azure.workload.identity/use: "true"
  {{- end }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Who runs a pod, where, and as whom: (dict "root" $ "component" … "pool" … "account" … "place" <nodeSelector, tolerations,
affinity> "store" true "token" true "uid" …). */}}
{{- define "neutrino.podSpec" -}}
{{- $root := .root -}}
{{- with .account }}
serviceAccountName: {{ include "neutrino.fullname" $root }}-{{ . }}
{{- end }}
automountServiceAccountToken: {{ default false .token }}
enableServiceLinks: false
securityContext:
  {{- include "neutrino.podSecurity" . | nindent 2 }}
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := deepCopy (default dict .place.affinity) }}
{{- if and .store (include "neutrino.oneNode" $root) }}
{{- $term := dict "labelSelector" (dict "matchLabels" (dict "neutrino.dev/store" (include "neutrino.fullname" $root))) "topologyKey" "kubernetes.io/hostname" }}
{{- $podAffinity := default dict $affinity.podAffinity }}
{{- $terms := append (default list $podAffinity.requiredDuringSchedulingIgnoredDuringExecution) $term }}
{{- $_ := set $affinity "podAffinity" (mustMergeOverwrite $podAffinity (dict "requiredDuringSchedulingIgnoredDuringExecution" $terms)) }}
{{- else if .spread }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "neutrino.selector" . | nindent 8 }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Variables, each name once: those of later lists win. (dict "lists" (list $own $forAll $forThis)) */}}
{{- define "neutrino.env" -}}
{{- $byName := dict -}}
{{- range .lists }}{{- range . }}{{- $_ := set $byName .name . }}{{- end }}{{- end -}}
{{- $all := list -}}
{{- range keys $byName | sortAlpha }}{{- $all = append $all (get $byName .) }}{{- end -}}
{{ toYaml $all }}
{{- end -}}

{{- define "neutrino.commonEnv" -}}
- {name: NEUTRINO_ALIVE_FILE, value: /tmp/neutrino-alive}
- {name: NEUTRINO_LOG_FORMAT, value: {{ .Values.logFormat }}}
- {name: NEUTRINO_LOG_LEVEL, value: {{ .Values.logLevel }}}
{{- end -}}

{{/* The only folder that the address of a store may name. */}}
{{- define "neutrino.rootsEnv" -}}
- {name: NEUTRINO_FILE_ROOTS, value: /var/lib/neutrino}
{{- end -}}

{{- define "neutrino.publicUrl" -}}
{{- $url := .Values.publicUrl -}}
{{- if not $url -}}
{{- if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- $url = printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tls))) (first .Values.ingress.hosts) -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- $url = printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- end -}}
{{- end -}}
{{ $url }}
{{- end -}}

{{- define "neutrino.publicEnv" -}}
{{- with include "neutrino.publicUrl" . -}}
- {name: NEUTRINO_PUBLIC_URL, value: {{ . | quote }}}
{{- end -}}
{{- end -}}

{{- define "neutrino.metricsEnv" -}}
{{- if .Values.monitoring.serviceMonitor.enabled -}}
- {name: NEUTRINO_METRICS_BIND, value: "0.0.0.0:9470"}
{{- end -}}
{{- end -}}

{{- define "neutrino.databaseEnv" -}}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "neutrino.postgresSecret" . }}, key: {{ ternary .Values.postgres.existingSecretKey "url" (not (empty .Values.postgres.existingSecret)) }}}}
{{- end -}}

{{- define "neutrino.redisEnv" -}}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "neutrino.redisSecret" . }}, key: {{ ternary .Values.redis.existingSecretKey "url" (not (empty .Values.redis.existingSecret)) }}}}
{{- end -}}

{{- define "neutrino.workerTokenEnv" -}}
- name: NEUTRINO_TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "neutrino.authSecret" . }}, key: worker-token}}
{{- end -}}

{{- define "neutrino.storeEnvFrom" -}}
{{- with .Values.store.existingSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end -}}

{{/* A container that returns when the database has this release's schema, or only when it answers. */}}
{{- define "neutrino.wait" -}}
- name: wait-for-{{ .for }}
  image: {{ include "neutrino.image" (dict "root" .root "image" .root.Values.images.controlPlane) }}
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  command: [python, -m, migrations, --wait-for, {{ .for }}, --timeout, {{ .root.Values.migration.timeoutSeconds | quote }}]
  env:
    {{- $own := concat (include "neutrino.commonEnv" .root | fromYamlArray) (include "neutrino.databaseEnv" .root | fromYamlArray) }}
    {{- include "neutrino.env" (dict "lists" (list $own .root.Values.extraEnv .extraEnv)) | nindent 4 }}
  resources:
    {{- toYaml .root.Values.migration.resources | nindent 4 }}
  securityContext:
    {{- include "neutrino.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* Lives as long as its service touches the file. */}}
{{- define "neutrino.aliveProbe" -}}
exec:
  command: [sh, -c, 'test -n "$(find "$NEUTRINO_ALIVE_FILE" -mmin -1)"']
{{- end -}}
