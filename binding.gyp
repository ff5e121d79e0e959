# Release binaries (npm run prebuild). The sources and flags are those of CMakeLists.txt, so that both builds give the
# same bits; what Node's common.gypi would add (-O3, no exceptions, gnu++) is taken away again.
{
  'targets': [
    {
      'target_name': 'mbok',
      'sources': [
        '<!@(node -p "require(\'fs\').readFileSync(\'native/sources.txt\', \'utf8\')")',
        '<!@(node -p "require(\'fs\').readFileSync(\'native/addon/sources.txt\', \'utf8\')")',
      ],
      'include_dirs': ['native', '<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=8', 'NDEBUG'],
      'cflags!': ['-O3', '-Wno-unused-parameter', '-fno-omit-frame-pointer'],
      'cflags_cc!': ['-O3', '-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20', '-fno-omit-frame-pointer'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-Werror', '-ffp-contract=off', '-fvisibility=hidden'],
      'cflags_cc': ['-std=c++17'],
      'configurations': {
        'Release': { 'cflags!': ['-O3', '-fno-omit-frame-pointer'] },
      },
      'conditions': [
        # a worker thread's end must not unmap code that the compute threads are running
        ['OS=="linux"', { 'ldflags': ['-Wl,-z,nodelete'] }],
        [
          'OS=="mac"',
          {
            'xcode_settings': {
              'GCC_OPTIMIZATION_LEVEL': '2',
              'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
              'GCC_ENABLE_CPP_RTTI': 'YES',
              'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
              'CLANG_CXX_LANGUAGE_STANDARD': 'c++17',
              'OTHER_CPLUSPLUSFLAGS': ['-Wall', '-Wextra', '-Werror', '-ffp-contract=off'],
            },
          },
        ],
      ],
    },
  ],
}
