use super::*;

/// Without `..`, so that a new key does not compile until it is asserted here.
#[test]
fn every_key_is_shown_in_the_reference() {
    let text = include_str!("../../../../conf/sluice.toml");
    let File {
        daemon:
            Table(Daemon {
                threads,
                control,
                log,
                log_format,
                watch_config,
                drain_timeout,
            }),
        kernel:
            Table(Kernel {
                mode,
                attach,
                pins,
                clients_capacity,
                sticky_capacity,
                interfaces: _,
            }),
        limits,
        mut listeners,
        routes: _,
        mut pools,
    } = toml::from_str(text).unwrap();
    shows_every_key_of_limits(limits.0);
    shows_every_key_of_a_listener(listeners.remove(0).into_inner().0);
    shows_every_key_of_a_pool(pools.remove(0).into_inner().0);

    assert!(threads.is_some() && control.is_some() && log.is_some() && log_format.is_some());
    assert!(watch_config.is_some() && attach.is_some() && drain_timeout.is_some());
    assert!(mode.is_some() && pins.is_some() && clients_capacity.is_some());
    // Empty there, so only the text tells that they are shown.
    for list in ["interfaces", "source_addresses", "alpn", "more"] {
        assert!(text.contains(&format!("\n{list} = []\n")), "{list}");
    }
    assert!(sticky_capacity.is_some());
}

fn shows_every_key_of_limits(limits: Limits) {
    let Limits {
        connect_packet,
        connect_timeout,
        sockmap_queue,
        max_connections,
        max_connections_per_source,
        pending_connects,
        pending_connects_per_source,
        pending_bytes,
        queue_timeout,
        connects_per_client,
        idle_margin,
        idle_without_keep_alive,
    } = limits;
    assert!(connect_packet.is_some() && connect_timeout.is_some() && sockmap_queue.is_some());
    assert!(max_connections.is_some() && max_connections_per_source.is_some());
    assert!(pending_connects.is_some() && pending_connects_per_source.is_some());
    assert!(pending_bytes.is_some() && queue_timeout.is_some() && connects_per_client.is_some());
    assert!(idle_margin.is_some() && idle_without_keep_alive.is_some());
}

fn shows_every_key_of_a_listener(listener: Listener) {
    let Listener {
        name,
        bind,
        pool,
        datapath,
        tls,
        max_connections,
        connect_rate,
        versions,
    } = listener;
    assert!(name.is_some() && !bind.is_empty() && pool.is_some() && datapath.is_some());
    assert!(max_connections.is_some() && connect_rate.is_some() && versions.is_some());
    let Table(Tls {
        certificate,
        key,
        alpn: _,
        client_ca,
        more: _,
    }) = tls.unwrap().into_inner();
    assert!(certificate.is_some() && key.is_some() && client_ca.is_some());
}

fn shows_every_key_of_a_pool(pool: Pool) {
    let Pool {
        name,
        balance,
        proxy_protocol,
        dial_timeout,
        connack_timeout,
        attempts,
        retry_on,
        dns_interval,
        load_bound,
        slow_start,
        health,
        sticky,
        mut backends,
    } = pool;
    assert!(name.is_some() && balance.is_some() && attempts.is_some());
    assert!(proxy_protocol.is_some());
    assert!(dial_timeout.is_some() && connack_timeout.is_some());
    assert!(dns_interval.is_some());
    assert!(retry_on.is_some() && load_bound.is_some() && slow_start.is_some());
    shows_every_key_of(health.0);
    let Table(Sticky {
        persistent_only,
        expire,
        hold,
    }) = sticky.unwrap().into_inner();
    assert!(persistent_only.is_some() && expire.is_some() && hold.is_some());
    let Table(Backend {
        name,
        address,
        weight,
        backup,
        source_addresses,
        max_connections: backend_max_connections,
        connect_rate: backend_connect_rate,
    }) = backends.remove(0).into_inner();
    assert!(name.is_some() && address.is_some() && weight.is_some() && backup.is_some());
    assert!(source_addresses.is_empty());
    assert!(backend_max_connections.is_some() && backend_connect_rate.is_some());
}

/// The same for routes, whose lists are all empty there.
#[test]
fn every_key_of_a_route_is_shown_in_the_reference() {
    let text = include_str!("../../../../conf/sluice.toml");
    let File { mut routes, .. } = toml::from_str(text).unwrap();
    let Table(Route {
        name,
        pool,
        listeners: _,
        sni: _,
        sni_glob: _,
        alpn: _,
        client_id: _,
        client_id_prefix: _,
        client_id_glob: _,
        client_id_regex: _,
        user_name: _,
        user_name_prefix: _,
        user_name_glob: _,
        versions: _,
        clean,
        source: _,
    }) = routes.remove(0).into_inner();
    assert!(name.is_some() && pool.is_some() && clean.is_some());
    let lists = [
        "listeners",
        "sni",
        "sni_glob",
        "alpn",
        "client_id",
        "client_id_prefix",
        "client_id_glob",
        "client_id_regex",
        "user_name",
        "user_name_prefix",
        "user_name_glob",
        "versions",
        "source",
    ];
    for list in lists {
        assert!(text.contains(&format!("\n{list} = []\n")), "{list}");
    }
}

fn shows_every_key_of(health: Health) {
    let Health {
        check,
        interval,
        fast_interval,
        timeout,
        jitter_percent,
        fall,
        rise,
        client_id,
        version,
        user_name,
        password_file,
        port,
        path,
        status,
        body,
        max_fails,
        fail_timeout,
        fail_on,
        on_dead,
        resets_per_second,
    } = health;
    assert!(check.is_some() && interval.is_some() && fast_interval.is_some());
    assert!(timeout.is_some() && jitter_percent.is_some() && fall.is_some() && rise.is_some());
    assert!(client_id.is_some() && version.is_some() && user_name.is_some());
    assert!(password_file.is_some() && port.is_some() && path.is_some() && status.is_some());
    assert!(body.is_some() && max_fails.is_some() && fail_timeout.is_some());
    assert!(fail_on.is_some() && on_dead.is_some() && resets_per_second.is_some());
}
